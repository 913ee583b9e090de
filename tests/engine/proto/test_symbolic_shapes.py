"""Sizes followed by name. Judge: ONNX Runtime. One name is one size, a number is that number, whatever the inputs' sizes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxray.engine.emitter.graph_types import GraphTypes
from onnxray.engine.graph.upgrade import upgrade
from onnxray.engine.load import load
from onnxray.engine.proto.expressions import Expressions
from onnxray.engine.proto.values import shape_of
from onnxray.tests.engine.zoo import cases, feeds_of


def knowledge_of(proto):
    model = load(proto)
    if model.opset < 18:
        model = load(upgrade(model.proto, 18))
    return GraphTypes(model, list(model.graph.node), model.opset)


def judge(known_types, feeds):
    """Run the model with all intermediate values and hold what is claimed of their shapes against what they have."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [o for node in known_types.nodes for o in node.output if o]
    names = [n for n in names if shape_of(known_types.types.get(n)) is not None]
    if not names:
        return
    proto = known_types.proto(names)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    sizes = {
        symbol: feeds[source].shape[axis] for symbol, (source, axis) in known_types.sources.items() if source in feeds
    }
    for name, value in zip(names, session.run(names, {k: v for k, v in feeds.items() if k in wanted}), strict=True):
        shape = shape_of(known_types.types[name])
        assert len(shape) == np.ndim(value), name
        for axis, (claim, size) in enumerate(zip(shape, np.shape(value), strict=True)):
            if isinstance(claim, str):
                assert sizes.setdefault(claim, size) == size, f"{name} axis {axis}: {claim!r}"
            elif claim is not None:
                assert claim == size, f"{name} axis {axis}"


@pytest.mark.parametrize("case", cases())
def test_zoo_models_without_declared_sizes(case, zoo):
    folder = zoo / "frameworks" / case
    feeds = feeds_of(folder)
    proto = onnx.load(folder / "model.onnx")
    del proto.graph.value_info[:]
    for value in proto.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    judge(knowledge_of(proto), feeds)


def test_a_residual_network_of_any_size_is_known_by_name(parse):
    """Both ways around a strided block have the same size, and it is known without a run."""
    proto = parse(
        """net (float[N,4,H,W] x) => (float[N,4,P,Q] y) {
             a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, w3)
             b = Conv<kernel_shape = [1, 1], strides = [2, 2]>(x, w1)
             c = Add(a, b)
             d = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(c)
             y = Add(c, d) }""",
        opset=18,
        w3=np.zeros((4, 4, 3, 3), np.float32),
        w1=np.zeros((4, 4, 1, 1), np.float32),
    )
    known_types = knowledge_of(proto)
    shapes = [shape_of(known_types.types[name]) for name in "abcdy"]
    assert len(set(shapes)) == 1
    assert shapes[0] == ("N", 4, "(((H - 1) // 2) + 1)", "(((W - 1) // 2) + 1)")
    for sizes in ((1, 7, 8), (2, 9, 1), (3, 1, 5)):
        judge(known_types, {"x": np.ones((sizes[0], 4, *sizes[1:]), np.float32)})


def test_a_reshape_to_computed_sizes(parse):
    """As attention layers are exported: batch and length taken from the shape, heads split off."""
    proto = parse(
        """net (float[N,T,12] x) => (float[N,T,12] y) {
             s = Shape(x) zero = Constant<value = int64 {0}>() one = Constant<value = int64 {1}>()
             n = Gather(s, zero) t = Gather(s, one) ax = Constant<value = int64[1] {0}>()
             n1 = Unsqueeze(n, ax) t1 = Unsqueeze(t, ax)
             two = Constant<value = int64 {2}>() c = Gather(s, two) heads = Constant<value = int64 {3}>()
             width = Div(c, heads) w1 = Unsqueeze(width, ax) h1 = Unsqueeze(heads, ax)
             to = Concat<axis = 0>(n1, t1, h1, w1) split = Reshape(x, to)
             rest = Constant<value = int64[1] {-1}>() back = Concat<axis = 0>(n1, rest, c1) c1 = Unsqueeze(c, ax)
             y = Reshape(split, back) }""",
        opset=18,
    )
    known_types = knowledge_of(proto)
    assert shape_of(known_types.types["split"]) == ("N", "T", 3, 4)
    assert shape_of(known_types.types["y"]) == ("N", "T", 12)
    judge(known_types, {"x": np.ones((2, 5, 12), np.float32)})


def test_different_computations_have_different_names(parse):
    proto = parse(
        """net (float[N,H] x) => (float[N,P] y) {
             one = Constant<value = int64[1] {1}>() two = Constant<value = int64[1] {2}>()
             end = Constant<value = int64[1] {9223372036854775807}>() last = Constant<value = int64[1] {-1}>()
             a = Slice(x, one, end, one) b = Slice(x, two, end, one)
             z = Constant<value = int64[1] {0}>() c = Slice(x, z, last, one) d = Slice(x, z, end, one) y = Exp(a) }""",
        opset=18,
    )
    known_types = knowledge_of(proto)
    sizes = [shape_of(known_types.types[name])[1] for name in "abcd"]
    assert sizes[3] == "H"
    assert len(set(sizes)) == 4


def test_arithmetic():
    sizes = Expressions()
    assert sizes.add(sizes.add("H", 3), -3) == "H"
    assert sizes.add(2, 3) == 5
    assert sizes.multiply("H", 1) == "H"
    assert sizes.multiply(0, "H") == 0
    assert sizes.divide(sizes.multiply("H", 12), 4) == sizes.multiply(3, "H")
    assert sizes.divide("H", "H") == 1
    assert sizes.divide("H", 2) != sizes.divide("H", 3)
    assert sizes.multiply("H", "W") == sizes.multiply("W", "H")
    assert sizes.quotient(["N", "H", 12], ["N", 4]) == sizes.multiply("H", 3)
    assert sizes.window("H", 3, 1, 1, 2) == "H"
    assert sizes.window(7, 3, 2, 1, 0) == 3
    assert sizes.window(8, 3, 2, 1, 0, ceil=True) == 4
    assert sizes.add(None, 1) is None
    assert sizes.multiply("H", None) is None
