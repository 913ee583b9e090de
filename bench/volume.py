"""Grad-CAM of a volume against two runs of the model: what an explanation in three dimensions costs.

    python bench/volume.py [--side 64] [--rounds 10] [--threads 1]

A network of four convolutions in three dimensions with random weights. First: the map is that of the textbook, written
out from activations and gradients (greatest difference relative to the greatest value, at most 1e-4).
Baseline: two runs of the model on ONNX Runtime, a forward pass and about what a backward pass is said to cost.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import onnx
from _harness import arguments, compare
from onnx import TensorProto, helper, numpy_helper


def network() -> onnx.ModelProto:
    """(N, 1, D, H, W) -> (N, 3)."""
    draw = np.random.default_rng(0)
    nodes, arrays, value, channels = [], {}, "x", 1
    for layer, (wide, stride) in enumerate([(8, 1), (16, 2), (32, 2), (32, 1)]):
        weight = draw.standard_normal((wide, channels, 3, 3, 3)) / np.sqrt(channels * 27)
        arrays[f"w{layer}"] = weight.astype(np.float32)
        more = {"kernel_shape": [3, 3, 3], "pads": [1] * 6, "strides": [stride] * 3}
        nodes.append(helper.make_node("Conv", [value, f"w{layer}"], [f"c{layer}"], name=f"conv{layer}", **more))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"relu{layer}"))
        value, channels = f"r{layer}", wide
    arrays["head"] = draw.standard_normal((32, 3)).astype(np.float32)
    nodes.append(helper.make_node("ReduceMean", [value], ["mean"], axes=[2, 3, 4], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["mean", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "volume",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "D", "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> int:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--side", type=int, default=64)

    options = arguments(__doc__, rounds=10, more=more)
    import onnxruntime

    import onnxray

    proto = network()
    model, x = onnxray.load(proto), np.random.default_rng(1).standard_normal([options.side] * 3).astype(np.float32)
    volume, threads = onnxray.Volume(x), {"threads": options.threads}
    e = onnxray.explain(model, volume, "grad-cam", 0, layer="relu3", **threads)
    maps = onnxray.activations(model, x[None, None], ["r3"])["r3"][0].astype(np.float64)
    slope = onnxray.explain(model, x[None, None], "gradient", 0, at="r3").values.astype(np.float64)
    wanted = np.maximum((slope.mean(axis=(1, 2, 3))[:, None, None, None] * maps).sum(axis=0), 0)
    apart = float(np.abs(np.maximum(e.values, 0) - wanted).max() / max(wanted.max(), 1e-30))
    print(f"greatest difference to the textbook's map: {apart:.1e}")
    if apart > 1e-4:
        return 1
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(proto.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    feeds = {"x": x[None, None]}
    found = compare(
        {
            "two runs": lambda: (session.run(None, feeds), session.run(None, feeds)),
            "grad-cam": lambda: onnxray.explain(model, volume, "grad-cam", 0, layer="relu3", **threads),
        },
        rounds=options.rounds,
    )
    ratio = found["grad-cam"].processor / found["two runs"].processor
    print(f"processor time: {ratio:.2f} times two runs of the model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
