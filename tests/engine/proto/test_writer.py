"""The writer of nodes that needs no model."""

from __future__ import annotations

import numpy as np
import onnx

from onnxray.engine.proto.writer import Writer


def test_names_that_somebody_has_are_passed_over() -> None:
    writer = Writer(["a_0", "a_2"])
    assert [writer.numbered("a") for _ in range(3)] == ["a_1", "a_3", "a_4"]
    assert writer.numbered("b") == "b_0"


def test_the_writer_of_an_inner_graph_shares_the_names() -> None:
    outer = Writer(["a_1"])
    inner = Writer(outer=outer)
    assert [outer.numbered("a"), inner.numbered("a"), outer.numbered("a")] == ["a_0", "a_2", "a_3"]
    inner.node("Relu", ["x"], [inner.numbered("y")])
    assert (len(inner.nodes), len(outer.nodes)) == (1, 0)


def test_what_is_written_makes_a_model() -> None:
    writer = Writer(["x", "y"])
    two = writer.initializer("two", np.array([2], np.int64))
    halves = writer.node("Split", ["x", writer.initializer("sizes", np.array([1, 1]))], ["first", "second"], axis=0)
    assert (two, halves) == ("two", "first")
    writer.add(onnx.helper.make_node("Mul", ["first", "second"], ["y"]))
    graph = onnx.GraphProto(name="g", node=writer.nodes, initializer=writer.initializers.values())
    graph.input.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2]))
    graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in graph.node] == ["first", ""]
