"""The self-check must pass right gradients and fail wrong ones."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import helper, numpy_helper

import onnxray
from onnxray.engine.autodiff.finite_differences import verify
from onnxray.engine.errors import ShapeError

NETWORK = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3,8,8] x) => (float[N,4] y)
<float[4,3,3,3] w>
{
    a = Conv <pads = [1,1,1,1]> (x, w)
    b = Relu(a)
    c = GlobalAveragePool(b)
    d = Flatten(c)
    y = Tanh(d)
}"""


@pytest.fixture
def network() -> onnxray.Model:
    proto = onnx.parser.parse_model(NETWORK)
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return onnxray.load(proto)


def test_right_gradients_pass(network: onnxray.Model) -> None:
    wrt = ["x", "b", "w"]
    checks = verify(network, onnxray.vjp(network, of="y", wrt=wrt), ["y"], wrt)
    assert {c.wrt for c in checks} == set(wrt)
    assert all(c.passed for c in checks)
    assert max(c.error for c in checks if c.limit < 0.1) < 0.02


@pytest.mark.parametrize("wrong", ["scaled", "half of the channels zero"])
def test_wrong_gradients_fail(network: onnxray.Model, wrong: str) -> None:
    def relu(node, cotangents, op):  # type: ignore[no-untyped-def]
        (dy,) = cotangents
        if wrong == "scaled":
            return [op.Mul(op.Where(op.Greater(node.outputs[0], 0.0), dy, 0.0), 1.05)]
        mask = np.array([1, 0, 1, 0], np.float32).reshape(1, 4, 1, 1)
        return [op.Mul(op.Where(op.Greater(node.outputs[0], 0.0), dy, 0.0), mask)]

    gradient = onnxray.vjp(network, of="y", wrt="x", rules={"Relu": relu})
    assert not all(c.passed for c in verify(network, gradient, ["y"], ["x"]))


def test_same_seed_same_figures(network: onnxray.Model) -> None:
    gradient = onnxray.vjp(network, of="y", wrt="x")
    assert verify(network, gradient, ["y"], ["x"], seed=3) == verify(network, gradient, ["y"], ["x"], seed=3)


def test_inputs_that_cannot_be_made_up() -> None:
    model = onnxray.load(
        onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[] x) => (float[] y) { y = Sin(x) }')
    )
    proto = model.proto
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    model = onnxray.load(proto)
    gradient = onnxray.vjp(onnxray.load(onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Sin(x) }'
    )), of="y", wrt="x")  # fmt: skip
    with pytest.raises(ShapeError, match="--feeds"):
        verify(model, gradient, ["y"], ["x"])


def _verified(nodes, stored, x, rules=None):
    """The checks of one network of x and y at x."""
    infos = [helper.make_tensor_value_info("x", 1, list(x.shape))], [helper.make_tensor_value_info("y", 1, None)]
    tensors = [numpy_helper.from_array(np.array(a, np.float32), name) for name, a in stored.items()]
    graph = helper.make_graph(nodes, "g", *infos, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    gradient = onnxray.vjp(model, of="y", wrt="x", rules=rules)
    return verify(model, gradient, ["y"], ["x"], feeds={"x": x})


SATURATED = [
    helper.make_node("Mul", ["x", "half"], ["m"]),
    helper.make_node("Add", ["m", "much"], ["a"]),
    helper.make_node("Sigmoid", ["a"], ["y"]),
]


def test_saturated_sigmoids_pass_and_a_wrong_gradient_of_them_does_not():
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    assert all(check.passed for check in _verified(SATURATED, {"half": 0.5, "much": 14}, x))
    wrong = {"Sigmoid": lambda node, dy, op: [op.Mul(dy, 0.9)]}
    assert not all(check.passed for check in _verified(SATURATED, {"half": 0.5, "much": 14}, x, wrong))


def test_a_gradient_of_zero_passes():
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["m"]),
        helper.make_node("Neg", ["m"], ["q"]),
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("Add", ["r", "b"], ["y"]),
    ]
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    assert all(check.passed for check in _verified(nodes, {"b": 3.3}, x))


def test_near_ties_of_a_maximum_pass():
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    x[0, 0].flat[(x[0, 0].argmax() + 3) % 36] = x[0, 0].max() - 1e-4
    assert all(check.passed for check in _verified([helper.make_node("GlobalMaxPool", ["x"], ["y"])], {}, x))
