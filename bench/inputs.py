"""What `explain` costs over the forward pass for models of other frameworks, from the inputs stored with each.

    ONNXRAY_ZOO=FOLDER python bench/inputs.py [--only t_resnet,k_gru] [--rounds 5]

The folder holds a case for each model: `model.onnx` and `io.npz` with its inputs (`in:`), cotangents of its outputs
(`cot:`) and the framework's gradients of its inputs (`grad:`), and `meta.json`. The result is compared first: the
gradient of the sum of the first output times its cotangent against the framework's, where that is the only output with
one and the model is differentiable (quantised ones are not), by L2 distance.
A case is the whole call of `onnxray.explain`, its graphs made before; the forward pass is ONNX Runtime alone. Models
whose forward pass takes less than a millisecond show what a call costs at all; the median is of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from _harness import Table, arguments, compare
from peers import RUNTIME

METHODS = ("gradient", "ablation")
# The greatest L2 distance to the framework's gradient, in parts of its length.
TOLERANCE = 1e-3


def main() -> None:
    def only(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--only", default="", metavar="A,B", help="cases whose names begin like this")

    options = arguments(__doc__, rounds=5, more=only)
    place = os.environ.get("ONNXRAY_ZOO")
    if not place:
        sys.exit("the environment variable ONNXRAY_ZOO does not name the folder of the model zoo")
    folders = sorted(p.parent for p in Path(place, "frameworks").glob("*/io.npz"))
    folders = [p for p in folders if p.name.startswith(tuple(options.only.split(",")))]
    columns = ["forward ms", *(f"{method} x" for method in METHODS), "distance", "case"]
    table = Table("explain over the forward pass", columns, options, RUNTIME)
    ratios: dict[str, list[float]] = {method: [] for method in METHODS}
    for folder in folders:
        measure(folder, options, table, ratios)
    for method, found in ratios.items():
        if found:
            print(f"{method}: median {np.median(found):.1f}, 90 % of {len(found)} below {np.percentile(found, 90):.1f}")
    table.done()


def measure(folder: Path, options: argparse.Namespace, table: Table, ratios: dict[str, list[float]]) -> None:
    import onnxray
    from onnxray.engine.errors import OnnxrayError
    from onnxray.engine.inference.session import Session

    warnings.simplefilter("ignore")
    with np.load(folder / "io.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    feeds = {key[3:]: array for key, array in arrays.items() if key.startswith("in:")}
    model = onnxray.load(folder / "model.onnx")
    forward = Session(model, providers="cpu", threads=options.threads)
    running = {"providers": "cpu", "threads": options.threads}
    target = strongest(model)
    calls = {"forward": lambda: forward.run(feeds)}
    refused = {}
    for method in METHODS:
        try:
            onnxray.explain(model, feeds, method, target, **running)
        except OnnxrayError as error:
            refused[method] = str(error)
        else:
            calls[method] = lambda method=method: onnxray.explain(model, feeds, method, target, **running)
    exact = json.loads((folder / "meta.json").read_text())["expected"]["status"] == "differentiable"
    distance = apart(model, feeds, arrays, running) if exact else None
    if distance is not None and not distance < TOLERANCE:
        sys.exit(f"{folder.name}: the gradient is {distance:.2g} of its length from the framework's")
    times = compare(calls, rounds=options.rounds, warm=1)
    cells: list[object] = []
    for method in METHODS:
        if method in refused:
            cells.append("refused")
            continue
        ratio = times[method].median / times["forward"].median
        if times["forward"].median >= 1e-3:
            ratios[method].append(ratio)
        cells.append(ratio)
    table.row(times["forward"], *cells, "none" if distance is None else f"{distance:.0e}", folder.name)


def strongest(model) -> str:
    """The strongest element of the first output of floats, as a target."""
    from onnxray.engine.inspect.batch_axis import value_has_batch

    output = next((o for o in model.outputs if o.dtype is not None and o.dtype.kind == "f"), model.outputs[0])
    axes = (output.rank or 0) - value_has_batch(model, output.name, model.inputs[0].name)
    return f"element:{output.name}:" + ",".join(["max"] * axes)


def apart(model, feeds, arrays, running) -> float | None:
    """L2 distance of the gradient to the framework's, in parts of its length; None where the case has none to compare.

    Of inputs of images or columns that are explained together, the first one's part counts.
    """
    import onnxray
    from onnxray import Target

    cotangents = [key for key in arrays if key.startswith("cot:")]
    known = [key[5:] for key in arrays if key.startswith("grad:") and key[5:] in feeds]
    if len(cotangents) != 1 or not known:
        return None
    name = known[0]
    target = Target.cotangent(cotangents[0][4:], arrays[cotangents[0]])
    try:
        found = onnxray.explain(onnxray.load(model, input=name), feeds, "gradient", target, **running)
    except onnxray.OnnxrayError:
        return None
    due = arrays[f"grad:{name}"].astype(np.float64)
    values = np.stack([e.values for e in found]).reshape(due.shape)
    return float(np.linalg.norm(values - due) / max(np.linalg.norm(due), 1e-30))


if __name__ == "__main__":
    main()
