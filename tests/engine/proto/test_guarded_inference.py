"""No model ends the process in onnx's shape inference; what can be inferred still is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxray
from onnxray.engine.errors import ModelError
from onnxray.engine.proto.guarded_inference import infer_graph
from onnxray.engine.proto.values import from_info

Parse = Callable[..., onnx.ModelProto]
# The first slice keeps 2 of 8, the pad cuts 5 of those, the second slice reads a size below 0.
BEHIND_ANOTHER = """m (float[1, 8] x) => (float[1, A] y)
    { a = Slice (x, zero, two, one) b = Pad (a, cut) r = Relu (b) y = Slice (r, zero, two, one) }"""
GOOD = """m (float[1, 8] x) => (float[1, A] y)
    { a = Slice (x, zero, two, one) b = Pad (a, widen) r = Relu (b) y = Slice (r, zero, three, one) }"""
NUMBERS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "cut": np.array([0, -5, 0, 0]),
    "widen": np.array([0, 4, 0, 0]),
}


def _used(text: str) -> dict[str, np.ndarray]:
    return {name: array.astype(np.int64) for name, array in NUMBERS.items() if f"{name})" in text or f"{name}," in text}


@pytest.mark.parametrize("data", [False, True])
def test_a_size_below_zero_behind_another_slice(parse: Parse, data: bool) -> None:
    proto = parse(BEHIND_ANOTHER, **_used(BEHIND_ANOTHER))
    with pytest.raises(ModelError, match="'b' would have the shape"):
        infer_graph(proto, data)
    with pytest.raises(onnxray.OnnxrayError):
        onnxray.load(proto)


def test_slices_are_inferred(parse: Parse) -> None:
    found = infer_graph(parse(GOOD, **_used(GOOD)), data=True)
    assert {v.name: from_info(v).shape for v in (*found.value_info, *found.output)} == {
        "a": (1, 2),
        "b": (1, 6),
        "r": (1, 6),
        "y": (1, 3),
    }


@pytest.mark.parametrize(
    ("domain", "op", "options"),
    [
        ("", "RegexFullMatch", {"pattern": "a"}),
        ("ai.onnx.ml", "LabelEncoder", {"keys_int64s": [0, 1], "values_strings": ["a", "b"]}),
        ("ai.onnx.ml", "DictVectorizer", {"string_vocabulary": ["a", "b"]}),
    ],
)
def test_operators_that_rely_on_a_type(domain: str, op: str, options: dict) -> None:
    """Behind an operator that nobody knows, there is none."""
    nodes = [
        helper.make_node("Nobody", ["x"], ["v"], domain="nowhere"),
        helper.make_node(op, ["v"], ["y"], domain=domain, **options),
    ]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [2])], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid(d, v) for d, v in (("", 20), ("ai.onnx.ml", 2), ("nowhere", 1))]
    model = onnxray.load(helper.make_model(graph, opset_imports=opsets, ir_version=9))
    assert [node.op_type for node in model.graph.node] == ["Nobody", op]


def test_they_are_inferred_where_the_type_is_known() -> None:
    nodes = [
        helper.make_node("LabelEncoder", ["x"], ["v"], domain="ai.onnx.ml", keys_int64s=[0], values_int64s=[1]),
        helper.make_node("LabelEncoder", ["v"], ["y"], domain="ai.onnx.ml", keys_int64s=[0], values_floats=[1.0]),
    ]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 7, [2])], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    found = infer_graph(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert from_info(found.output[0]).dtype == np.float32
    assert [node.domain for node in found.node] == ["ai.onnx.ml"] * 2
