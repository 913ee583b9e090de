"""What methods that hide parts of one image take over the bare runs: the same number of images through ONNX Runtime.

    python bench/masked.py [--runs 400] [--rounds 7] [--threads 1] [--only mobilenetv2,squeezenet1.1,resnet18]

RISE, LIME, Kernel SHAP and Score-CAM, called as a user calls them, against a loop over the session alone, fed one
batch of four that lies ready, for as many images as the method ran. Times are processor time of all threads, so that
other work on the machine disturbs little. LIME includes its superpixels. RISE is compared with its formula written out
in NumPy, LIME and Kernel SHAP get all scores right if they find the weights of a score that is linear in the features.

Goal: 1.05 times the bare runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from _harness import Table, arguments, compare
from peers import RUNTIME

import onnxray
from onnxray.engine.inference.session import Session, session
from onnxray.kernels import masks as kernels

METHODS = ("rise", "lime", "kernel-shap", "score-cam")
AT_ONCE = 4


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--runs", type=int, default=400, help="masks or samples (default 400)")
        parser.add_argument("--only", default="mobilenetv2,squeezenet1.1,resnet18", help="networks")

    options = arguments(__doc__, rounds=7, more=more)
    columns = ["network", "method", "runs", "ours", "bare", "ratio"]
    measured = f"processor time, median of {options.rounds} interleaved rounds, {options.threads} thread(s)"
    table = Table("Masked forms of one image", columns, options, (*RUNTIME, "torch"), measured=measured)
    linear(options)
    for name in options.only.split(","):
        measure(name, options, table)
    table.done()


def measure(name: str, options: argparse.Namespace, table: Table) -> None:
    from networks import build, export

    model = onnxray.load(export(name, build(name)))
    running = {"threads": options.threads, "providers": "cpu"}
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    plain, rows = session(model, **running), np.repeat(x, AT_ONCE, 0)
    target = int(plain.run({"x": x})["y"].argmax())
    check_rise(model, plain, x, target, running)
    for method in METHODS:
        count = {"rise": {"masks": options.runs}, "score-cam": {"channels": options.runs}}
        chosen = count.get(method, {"samples": options.runs})

        def ours(method: str = method, chosen: dict = chosen) -> object:
            return onnxray.explain(model, x, method, target, **chosen, **running).values

        runs = images_of(ours)

        def bare(runs: int = runs) -> None:
            for _ in range(runs // AT_ONCE):
                plain.run({"x": rows})
            if runs % AT_ONCE:
                plain.run({"x": rows[: runs % AT_ONCE]})

        times = compare({"ours": ours, "bare": bare}, rounds=options.rounds, warm=1)
        ratio = times["ours"].processor / times["bare"].processor
        each = [f"{times[who].processor / runs * 1e3:.3f} ms" for who in ("ours", "bare")]
        table.row(name, method, runs, *each, ratio)


def images_of(call: Callable[[], object]) -> int:
    """How many images the network runs on in a call."""
    run, counted = Session.run, []

    def counting(self: Session, feeds, outputs=None):
        counted.append(len(next(iter(feeds.values()))))
        return run(self, feeds, outputs)

    Session.run = counting  # type: ignore[method-assign]
    try:
        call()
    finally:
        Session.run = run  # type: ignore[method-assign]
    return sum(counted)


def check_rise(model: onnxray.Model, plain: Session, x: np.ndarray, target: int, running: dict) -> None:
    """The mean of the masks weighted by the scores, divided by the expected mask."""
    count, drawn = 24, kernels.Rise((224, 224))
    grids, shifts = drawn.draw(0, count)
    full = np.empty((count, 1, 224, 224, 1), np.float32)
    kernels.apply(full, np.ones((1, 224, 224, 1), np.float32), None, grids, enlarged=drawn.enlarged, shifts=shifts)
    masks = full[:, 0, ..., 0]
    scores = plain.run({"x": x * masks[:, None]})["y"][:, target]
    expected = np.einsum("b,bhw->hw", scores.astype(np.float64), masks) / (drawn.probability * count)
    got = onnxray.explain(model, x, "rise", target, masks=count, **running).values
    off = float(np.abs(got - expected).max() / np.ptp(expected))
    if not off < 1e-3:
        raise SystemExit(f"wrong result: RISE is off by {off:.2g} of the map's spread")


def linear(options: argparse.Namespace) -> None:
    """Kernel SHAP and LIME on a model whose score is a weighted sum of pixels: the weights come back."""
    import onnx

    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((1, 3, 64, 64)).astype(np.float32) for _ in range(2))
    graph = onnx.parser.parse_graph(
        "g (float[N,3,64,64] x) => (float[N,1] y) { flat = Flatten(x) y = MatMul(flat, w) }"
    )
    graph.initializer.append(onnx.numpy_helper.from_array(w.reshape(-1, 1), "w"))
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    model = onnxray.load(made)
    expected = (x * w)[0].sum(0).reshape(8, 8, 8, 8).sum((1, 3))
    for method, more in (("lime", {"alpha": 0.0}), ("kernel-shap", {})):
        chosen = {"segments": "grid", "fill": "zero", "samples": 300, **more}
        e = onnxray.explain(model, x, method, 0, **chosen, threads=options.threads, providers="cpu")
        off = float(np.abs(np.array(e.details["weights"]).reshape(8, 8) - expected).max() / np.abs(expected).max())
        if not off < 1e-3:
            raise SystemExit(f"wrong result: {method} is off by {off:.2g} of the largest weight")


if __name__ == "__main__":
    main()
