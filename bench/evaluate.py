"""Insertion and deletion of one map against the loop of the RISE notebook on ONNX Runtime.

    python bench/evaluate.py [--threads N] [--rounds N] [MODEL.onnx]

The loop is the notebook's `CausalMetric.single_run`: one image a run, as many runs as the image has rows, in a session
of its own with the same number of threads; its curve must be ours before anything is timed. Default: the built-in
model. Goal: three times as fast.
"""

from __future__ import annotations

import numpy as np
import peers
from _harness import Table, arguments, compare

import onnxray
from onnxray import models
from onnxray.cli.files.images import read
from onnxray.engine.evaluate.case import Case
from onnxray.engine.evaluate.metrics.insertion import substrate
from onnxray.engine.evaluate.registry import make
from onnxray.engine.explain import problem_of, solve
from onnxray.engine.inference.batches import RunOptions
from onnxray.engine.methods.registry import find

GOAL = 3.0


def options_of():
    def more(parser) -> None:
        parser.add_argument("model", nargs="?", default=None, help="a classifier of images (default: the built-in one)")

    return arguments(__doc__, rounds=3, more=more)


def notebook(
    session, name: str, x: np.ndarray, fill: np.ndarray, map: np.ndarray, mode: str, target: int
) -> np.ndarray:
    """The probabilities of all steps."""
    area, step = map.size, map.shape[1]
    steps = (area + step - 1) // step
    start, finish = (x.copy(), fill) if mode == "deletion" else (fill.copy(), x)
    order = np.argsort(-map.ravel(), kind="stable")
    scores = np.empty(steps + 1)
    for i in range(steps + 1):
        y = session.run(None, {name: start[None]})[0].reshape(-1).astype(np.float64)
        e = np.exp(y - y.max())
        scores[i] = (e / e.sum())[target]
        coords = order[step * i : step * (i + 1)]
        start.reshape(len(x), area)[:, coords] = finish.reshape(len(x), area)[:, coords]
    return scores


def main() -> None:
    import onnxruntime

    options = options_of()
    path = options.model or str(models.path(models.BUILTIN))
    model = onnxray.load(path)
    photo = read(onnxray.samples()[4])
    problem = problem_of(model, photo, runtime=RunOptions(threads=options.threads, providers="cpu"))
    case = Case(problem, solve(problem, find("grad-cam")()))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    target = problem.targets[0].class_index
    table = Table(
        "Insertion and deletion of one map", ["metric", "ours", "notebook", "ratio"], options, peers.RUNTIME, width=14
    )
    for mode in ("insertion", "deletion"):
        metric = make(mode)
        fill = substrate(case, metric.options()["fill"])
        asked = (session, problem.input.name, case.sample, fill, case.relevance, mode, target)
        ours, theirs = metric(case).curve.y, notebook(*asked)
        if not np.abs(ours - theirs).max() < 1e-4:
            raise SystemExit(f"wrong result: {mode} differs by {np.abs(ours - theirs).max():.2g}")
        contenders = {"ours": lambda: metric(case), "notebook": lambda: notebook(*asked)}
        times = compare(contenders, rounds=options.rounds, warm=1)
        ratio = times["notebook"].median / times["ours"].median
        table.row(mode, times["ours"], times["notebook"], ratio)
    table.done()
    print(f"the goal is {GOAL:.0f} times")


if __name__ == "__main__":
    main()
