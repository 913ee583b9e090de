"""No model ends the process in onnx's shape inference; what can be inferred still is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxray
from onnxray.engine.errors import ModelError
from onnxray.engine.proto.guarded_inference import INFERENCE_ERRORS, infer_graph
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


@pytest.mark.parametrize(
    ("made", "size"),
    [
        ("b = Pad (a, computed)", True),
        ("b = Expand (a, computed)", True),
        ("b = Reshape (a, computed)", True),
        ("b = Tile (a, computed)", True),
    ],
)
def test_a_size_below_zero_that_is_computed(parse: Parse, made: str, size: bool) -> None:
    """The numbers come from sizes by a subtraction, which only following them tells."""
    text = f"""m (float[1, 8] x) => (float[1, A] y) {{ a = Slice (x, zero, two, one) s = Shape (a)
        less = Sub (s, much) computed = Concat <axis = 0> (less{", less" if "Pad" in made else ""}) {made}
        r = Relu (b) y = Slice (r, zero, two, one) }}"""
    numbers = {**NUMBERS, "much": np.array([9, 9])}
    proto = parse(text, **{n: numbers[n].astype(np.int64) for n in ("zero", "one", "two", "much")})
    for data in (False, True):
        try:
            found = infer_graph(proto, data)
        except (ModelError, *INFERENCE_ERRORS):
            continue
        assert all(
            d is None or d >= 0 for v in found.value_info for d in from_info(v).shape or () if isinstance(d, int)
        )


@pytest.mark.parametrize("kind", ["shapes", "pads"])
def test_long_chains_are_inferred_in_few_passes(parse: Parse, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, before = [], "x"
    for i in range(60):
        if kind == "shapes":
            lines.append(
                f"h{i} = Shape ({before}) g{i} = Slice (h{i}, zero, one) c{i} = Concat <axis = 0> (g{i}, rest)"
            )
            lines.append(f"v{i} = Reshape ({before}, c{i})")
        else:
            lines.append(f"p{i} = Pad ({before}, widen) v{i} = Slice (p{i}, zero, three, one)")
        before = f"v{i}"
    text = f"m (float[N, 3] x) => (float[A, B] y) {{ {' '.join(lines)} y = Relu ({before}) }}"
    numbers = {**NUMBERS, "rest": np.array([-1])}
    names = ("zero", "one", "rest") if kind == "shapes" else ("zero", "one", "three", "widen")
    proto = parse(text, **{n: numbers[n].astype(np.int64) for n in names})
    true, asked = onnx.shape_inference.infer_shapes, []

    def counted(*given: object, **options: object) -> onnx.ModelProto:
        asked.append(1)
        return true(*given, **options)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    found = infer_graph(proto, data=True)
    assert len(asked) < 5
    shapes = {v.name: from_info(v).shape for v in found.value_info}
    assert (shapes["v59"] or ())[-1] == 3 or kind == "shapes"
