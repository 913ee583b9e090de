"""Values inside If and Loop: what can be taken in their place is named, and can be taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import UnknownName
from onnxray.engine.proto.bodies import bodies, inside

Parse = Callable[..., onnx.ModelProto]
X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)


def with_if() -> onnx.ModelProto:
    def branch(name: str, op: str) -> onnx.GraphProto:
        nodes = [
            onnx.helper.make_node(op, ["x"], [f"{name}_mid"], name=f"{name}_node"),
            onnx.helper.make_node("Neg", [f"{name}_mid"], [f"{name}_out"]),
        ]
        return onnx.helper.make_graph(nodes, name, [], [onnx.helper.make_tensor_value_info(f"{name}_out", 1, ["N", 4])])

    zero = onnx.numpy_helper.from_array(np.array(0, np.float32), "zero")
    nodes = [
        onnx.helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        onnx.helper.make_node("Greater", ["total", "zero"], ["positive"]),
        onnx.helper.make_node(
            "If",
            ["positive"],
            ["chosen"],
            name="cond",
            then_branch=branch("then", "Exp"),
            else_branch=branch("other", "Tanh"),
        ),
        onnx.helper.make_node("Mul", ["chosen", "chosen"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["N", 4])],
        [onnx.helper.make_tensor_value_info("y", 1, ["N", 4])],
        [zero],
    )
    return onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])


def test_bodies_are_listed() -> None:
    report = onnxray.inspect(with_if())
    assert {(b.node, b.name, b.values, b.gives) for b in report.bodies} == {
        ("'cond' (If)", "then_branch", ("then_mid", "then_out"), ("chosen",)),
        ("'cond' (If)", "else_branch", ("other_mid", "other_out"), ("chosen",)),
    }


@pytest.mark.parametrize("name", ["then_mid", "then_node", "other_out"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda model, name: onnxray.activations(model, X, [name]),
        lambda model, name: onnxray.expose(model, [name]),
        lambda model, name: onnxray.explain(model, X, "gradient", f"element:{name}:0"),
        lambda model, name: onnxray.explain(model, X, "grad-cam", f"unit:{name}:0"),
        lambda model, name: onnxray.vjp(model, name, ["x"]),
        lambda model, name: onnxray.explain(model, X, "grad-cam", "element:y:0", layer=name),
    ],
)
def test_who_asks_for_one_gets_the_remedy(ask: Callable[[onnxray.Model, str], object], name: str) -> None:
    with pytest.raises(UnknownName, match=r"inside (then|else)_branch of the node 'cond' \(If\).*gives, 'chosen'"):
        ask(onnxray.load(with_if()), name)


def test_the_remedy_works() -> None:
    found = onnxray.activations(onnxray.load(with_if()), X, ["chosen"])["chosen"]
    np.testing.assert_allclose(found, -np.exp(X) if X.sum() > 0 else -np.tanh(X), rtol=1e-5)


def test_names_that_are_nowhere() -> None:
    assert inside(with_if().graph, "nowhere") == ""


def test_graphs_without_bodies(parse: Parse) -> None:
    assert bodies(parse("m (float[N] x) => (float[N] y) { y = Relu (x) }").graph) == []
