"""Ids of nodes, as model-explorer-onnx has them."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from onnxray.engine.explorer.keys import graph_key, node_keys


def graph(*names: str) -> onnx.GraphProto:
    values = ["x", *(f"v{n}" for n in range(len(names)))]
    nodes = [
        onnx.helper.make_node("Relu", [a], [b], name=name)
        for name, a, b in zip(names, values, values[1:], strict=False)
    ]
    info = onnx.helper.make_tensor_value_info
    ends = info("x", 1, [1]), info(values[-1], 1, [1])
    return onnx.helper.make_graph(nodes, "g", [ends[0]], [ends[1]])


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("a", "b"), ["a", "b"]),
        (("", "", ""), ["node", "node_1", "node_2"]),
        (("a", "a", "a_1", "a"), ["a", "a_1", "a_1_1", "a_2"]),
        (("node", "", "node_1"), ["node", "node_1", "node_1_1"]),
    ],
)
def test_names_are_made_unique(names: tuple[str, ...], keys: list[str]) -> None:
    assert node_keys(graph(*names)) == keys


def test_graphs_inside_count_too() -> None:
    """A body's nodes take numbers, and are left out."""
    outer = graph("", "", "")
    outer.node[1].CopyFrom(onnx.helper.make_node("If", ["x"], ["v1"], then_branch=graph("", ""), else_branch=graph("")))
    assert node_keys(outer) == ["node", "node_1", "node_3"]


def test_a_graph_without_a_name() -> None:
    assert graph_key(graph("a")) == "g"
    assert graph_key(onnx.GraphProto()) == "<main>"


def test_the_adapter_names_them_so(zoo_model: Path) -> None:
    adapter = pytest.importorskip("model_explorer_onnx.main", reason="model-explorer-onnx is not installed")
    shown = adapter.ONNXAdapter().convert(str(zoo_model), {})["graphs"][0]
    proto = onnx.load(zoo_model, load_external_data=False)
    assert graph_key(proto.graph) == shown.id
    assert set(node_keys(proto.graph)) <= {node.id for node in shown.nodes}
