"""Maps of float16 models against those of the same models in float32, for every method that uses gradients.

    python bench/half.py FOLDER [--only mobilenet,vit] [--methods lrp,smoothgrad] [--option]

FOLDER holds float32 models; ONNX Runtime's own converter makes float16 models of them, or `half=True` with --option.
The float32 model that counts has its weights rounded as those are: what the rounding of weights does to a map
(rectifiers that turn over) is no matter of how gradients are computed. Prints the correlation of both maps, that with
the map of the weights as they were, the share of zeros in the float16 model's map, and the time against that of
float32. A method that does not fit a model is left out. Goal: 0.999 everywhere; the exit status says whether it is met.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

import onnxray
from onnxray.engine.inspect.concrete_shapes import concrete_shapes
from onnxray.engine.methods import registry

_GOAL = 0.999


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="parts of file names, with commas between")
    parser.add_argument("--methods", default="", help="names of methods, with commas between")
    parser.add_argument(
        "--option", action="store_true", help="convert with half=True in place of ONNX Runtime's converter"
    )
    options = parser.parse_args()
    known = [name for name, method in registry.methods().items() if method.needs == "gradient"]
    methods = [name for name in options.methods.split(",") if name] or known
    wanted = [part for part in options.only.split(",") if part]
    worst = 1.0
    for file in sorted(options.folder.glob("*.onnx")):
        if not wanted or any(part in file.name for part in wanted):
            worst = min(worst, measure(file, methods, options.option))
    print(f"worst correlation {worst:.5f}, goal {_GOAL}")
    return int(worst < _GOAL)


def rounded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its float32 weights rounded to what float16 holds."""
    tensors = list(proto.graph.initializer)
    tensors += [a.t for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
    for tensor in tensors:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor)
            kept = np.clip(array, -65504, 65504).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(kept, tensor.name))
    return proto


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float(np.array_equal(a, b))


def measure(file: Path, methods: list[str], option: bool) -> float:
    """One model; the worst correlation. option: whether `half=True` converts it."""
    given_weights, single = onnxray.load(file), onnxray.load(rounded(onnx.load(file)))
    try:
        half = onnxray.load(file, half=True) if option else onnxray.load(convert_float_to_float16(onnx.load(file)))
    except (onnxray.OnnxrayError, ValueError) as error:
        print(f"{file.name}: not converted ({error})")
        return 1.0
    shapes = concrete_shapes(single)
    rng = np.random.default_rng(0)
    feeds = {
        v.name: rng.standard_normal(shapes[v.name] or ()).astype(np.float16).astype(np.float32)
        for v in single.inputs
        if v.dtype == np.float32
    }
    if len(feeds) != len(single.inputs):
        print(f"{file.name}: has inputs that are not float32")
        return 1.0
    worst = 1.0
    for method in methods:
        found, seconds = [], []
        try:
            # The class is named: scores in float16 may tie.
            plain = onnxray.explain(single, feeds, method="gradient")
            for model, kind in (
                (single, np.float32),
                (half, np.float32 if option else np.float16),
                (given_weights, np.float32),
            ):
                given = {name: x.astype(kind) for name, x in feeds.items()}
                start = time.perf_counter()
                target = int(np.ravel(plain.classes)[0]) if getattr(plain, "classes", None) is not None else None
                found.append(onnxray.explain(model, given, method=method, target=target))
                seconds.append(time.perf_counter() - start)
        except onnxray.OnnxrayError as error:
            print(f"{file.name:36} {method:24} left out: {str(error)[:60]}")
            continue
        a, b, c = (np.ravel(np.asarray(e.values, np.float64)) for e in found)
        r, zeros = correlation(a, b), float(np.mean(b == 0))
        print(
            f"{file.name:36} {method:24} {r:9.6f} (weights as they were {correlation(c, b):9.6f}) zeros {zeros:5.1%} "
            f"time {seconds[1] / seconds[0]:5.2f}"
        )
        worst = min(worst, r)
    return worst


if __name__ == "__main__":
    sys.exit(main())
