"""Editing graphs: copies are copies, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from onnxray.engine.proto.edit import copied, copy_fields, ordered, rename, replace_nodes

Parse = Callable[..., onnx.ModelProto]
TEXT = "m (float[N] x) => (float[N] y) { a = Relu (x) b = Abs (x) y = Add (a, b) }"


def test_a_copy_is_equal_and_its_own(parse: Parse) -> None:
    proto = parse(TEXT)
    other = copied(proto)
    assert other == proto
    other.graph.node[0].op_type = "Neg"
    assert proto.graph.node[0].op_type == "Relu"


def test_all_fields_are_copied_but_those_named(cnn: onnx.ModelProto) -> None:
    cnn = copied(cnn)
    cnn.metadata_props.add(key="k", value="v")
    cnn.doc_string = "text"
    target = onnx.ModelProto()
    copy_fields(cnn, target)
    assert target == cnn
    target = onnx.ModelProto()
    copy_fields(cnn, target, but=("graph", "metadata_props"))
    assert not target.HasField("graph")
    assert not target.metadata_props
    assert (target.ir_version, target.doc_string) == (cnn.ir_version, "text")
    assert [o.version for o in target.opset_import] == [o.version for o in cnn.opset_import]


def test_nodes_are_replaced_by_some_of_their_own(parse: Parse) -> None:
    graph = parse(TEXT).graph
    replace_nodes(graph, [graph.node[2], graph.node[0]])
    assert [node.op_type for node in graph.node] == ["Add", "Relu"]


def test_nodes_are_put_in_order_and_the_useless_left_out(parse: Parse) -> None:
    nodes = list(parse(TEXT).graph.node)
    assert [n.op_type for n in ordered(nodes[::-1], ["y"])] == ["Relu", "Abs", "Add"]
    assert [n.op_type for n in ordered(nodes, ["a"])] == ["Relu"]


def test_values_get_other_names_wherever_they_stand(parse: Parse) -> None:
    node = parse(TEXT).graph.node[2]
    rename(node, {"a": "c", "y": "z"})
    assert (list(node.input), list(node.output)) == (["c", "b"], ["z"])
