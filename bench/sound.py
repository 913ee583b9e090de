"""Integrated gradients of a sound in time and frequency against the same on its samples: what the layer in front costs.

    python bench/sound.py [--seconds 2] [--rounds 10] [--threads 1]

A network of four convolutions at 16 kHz with random weights, 16 steps. First: input x gradient adds up to the same
number over samples and over coefficients (relative difference at most 1e-4). Baseline: onnxray on the samples.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import onnx
from _harness import arguments, compare
from onnx import TensorProto, helper, numpy_helper


def network() -> onnx.ModelProto:
    """(N, 1, T) -> (N, 5)."""
    draw = np.random.default_rng(0)
    nodes, arrays, value, channels = [], {}, "x", 1
    for layer, (wide, kernel, stride) in enumerate([(32, 64, 8), (64, 16, 4), (64, 8, 2), (64, 8, 2)]):
        weight = draw.standard_normal((wide, channels, kernel)) / np.sqrt(channels * kernel)
        arrays[f"w{layer}"] = weight.astype(np.float32)
        nodes.append(helper.make_node("Conv", [value, f"w{layer}"], [f"c{layer}"], strides=[stride]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        value, channels = f"r{layer}", wide
    arrays["head"] = draw.standard_normal((64, 5)).astype(np.float32)
    nodes.append(helper.make_node("ReduceMean", [value], ["mean"], axes=[2], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["mean", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "sound",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> int:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=2.0)

    options = arguments(__doc__, rounds=10, more=more)
    import onnxray

    model = onnxray.load(network(), sound={"rate": 16000})
    x = np.random.default_rng(1).standard_normal(int(16000 * options.seconds)).astype(np.float32)
    sound, tensor, threads = onnxray.Sound(x, 16000), x[None, None], {"threads": options.threads}
    one = float(onnxray.explain(model, tensor, "input-x-gradient", 0, **threads).values.astype(np.float64).sum())
    two = float(onnxray.explain(model, sound, "input-x-gradient", 0, **threads).values.astype(np.float64).sum())
    print(f"sum over samples {one:.6g}, over coefficients {two:.6g}: {abs(one - two) / abs(one):.1e} apart")
    if abs(one - two) > 1e-4 * abs(one):
        return 1
    found = compare(
        {
            "samples": lambda: onnxray.explain(model, tensor, "integrated-gradients", 0, steps=16, **threads),
            "time and frequency": lambda: onnxray.explain(model, sound, "integrated-gradients", 0, steps=16, **threads),
        },
        rounds=options.rounds,
    )
    ratio = found["time and frequency"].processor / found["samples"].processor
    print(f"processor time: {ratio:.2f} times that on the samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
