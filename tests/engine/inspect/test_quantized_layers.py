"""Layers of networks in the form of quantize_dynamic: not every output of a node is a map."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

import onnxray


def _dynamic_quantised():
    """A convolution as ONNX Runtime's quantize_dynamic writes it, a pool and a matrix behind it."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("ConvInteger", ["q", "w", "zero", "wz"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["c"], ["f"], to=1),
        helper.make_node("Mul", ["scale", "ws"], ["s"]),
        helper.make_node("Mul", ["f", "s"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["y"]),
    ]
    stored = {
        "w": rng.integers(0, 255, (8, 3, 3, 3)).astype(np.uint8),
        "wz": np.array(128, np.uint8),
        "ws": np.array(0.01, np.float32),
        "v": rng.standard_normal((8, 5)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", 1, [1, 5])],
        [numpy_helper.from_array(a, n) for n, a in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_the_scale_of_a_dynamic_quantisation_is_no_map():
    model = onnxray.load(_dynamic_quantised())
    axes = {layer.output: layer.map_axes for layer in model.layers}
    assert axes["q"] == axes["r"] == (2, 3)
    assert axes.get("s") is None


def test_maps_and_activations_of_a_dynamic_quantised_network():
    model = onnxray.load(_dynamic_quantised())
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert onnxray.explain(model, x, method="grad-cam").layer == "r"
    assert onnxray.explain(model, x, method="eigen-cam").layer == "r"
    assert onnxray.activations(model, x, ["scale"])["scale"].shape == ()
