"""Opset upgrades. Judges: outputs before and after in ONNX Runtime; ONNX's own version converter where it can."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxray.engine.errors import OpsetError
from onnxray.engine.graph.upgrade import upgrade
from onnxray.engine.load import load
from onnxray.tests.engine.zoo import cases, feeds_of
from onnxray.tests.rounding import ROUNDING, apart

TARGET = 18


def run(proto, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )


def upgraded(proto):
    """Upgraded to 18, valid, every value that was there still there under its name."""
    before = load(proto).proto
    held = before.SerializeToString()
    after = upgrade(before, TARGET)
    assert before.SerializeToString() == held
    assert [o.version for o in after.opset_import if o.domain == ""] == [TARGET]
    onnx.checker.check_model(after, full_check=True)
    names = {o for node in before.graph.node for o in node.output}
    assert names <= {o for node in after.graph.node for o in node.output}
    return after


# (opset, graph, whether onnx's converter can judge): one per rewrite, inputs are random
CASES = {
    "BatchNormalization by place": (7, """(float[2,3,4] x, float[3,4] s, float[3,4] b, float[3,4] m) => (float[2,3,4] y)
        { v = Mul(m, m) y = BatchNormalization<spatial = 0, epsilon = 0.01>(x, s, b, m, v) }""", False),
    "BatchNormalization": (7, """(float[2,3,4] x, float[3] s, float[3] b, float[3] m) => (float[2,3,4] y)
        { v = Mul(m, m) y = BatchNormalization<epsilon = 0.01>(x, s, b, m, v) }""", False),
    "Clip": (7, "(float[9] x) => (float[9] y) { y = Clip<min = -0.5, max = 0.25>(x) }", True),
    "Clip above": (8, "(float[9] x) => (float[9] y) { y = Clip<max = 0.25>(x) }", True),
    "Clip, not at all": (9, "(float[9] x) => (float[9] y) { y = Clip(x) }", True),
    "Dropout": (7, "(float[9] x) => (float[9] y) { y = Dropout<ratio = 0.9>(x) }", True),
    "Dropout with its mask": (9, "(float[9] x) => (float[9] y) { y, m = Dropout(x) unread = Exp(m) }", False),
    "Softmax": (9, "(float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }", True),
    "Softmax, last axis": (11, "(float[2,3,4] x) => (float[2,3,4] y) { y = Softmax<axis = -1>(x) }", True),
    "LogSoftmax": (11, "(float[2,3,4] x) => (float[2,3,4] y) { y = LogSoftmax<axis = 0>(x) }", True),
    "Hardmax": (11, "(float[2,3,4] x) => (float[2,3,4] y) { y = Hardmax<axis = 1>(x) }", False),
    "Softmax of pooled channels": (
        9, "(float[2,3,1,1] x) => (float[2,3,1,1] y) { y = Softmax<axis = 1>(x) }", True),
    "Pad": (9, '(float[2,5] x) => (float[4,8] y) { y = Pad<pads = [1, 0, 1, 3], value = 1.5>(x) }', True),
    "Pad, reflect": (7, '(float[2,5] x) => (float[2,9] y) { y = Pad<mode = "reflect", pads = [0, 1, 0, 3]>(x) }', True),
    "Reductions": (9, """(float[2,3,4] x) => (float[2,3] y) {
        a = ReduceMean<axes = [-1]>(x) b = ReduceSum<axes = [2], keepdims = 0>(x)
        c = ReduceMax<axes = [2], keepdims = 0>(x) d = ReduceL2<axes = [2], keepdims = 0>(x)
             e = ReduceProd<axes = [2], keepdims = 0>(x) f = ReduceLogSumExp(x)
        g = ReduceMin<keepdims = 0>(x) h = ReduceL1<axes = [0, 2], keepdims = 0>(x) s = ReduceSumSquare(x)
        t = Squeeze<axes = [2]>(a) u = Squeeze(f) v = Squeeze(s) y = Sum(t, b, c, d, e, u, g, h, v) }""", False),
    "Resize": (10, """(float[1,1,3,4] x) => (float[1,1,6,7] y)
        { s = Constant<value = float[4] {1, 1, 2, 1.8}>() y = Resize<mode = "linear">(x, s) }""", False),
    "Resize, nearest": (10, """(float[1,1,3,4] x) => (float[1,1,6,7] y)
        { s = Constant<value = float[4] {1, 1, 2, 1.8}>() y = Resize(x, s) }""", False),
    "Resize to sizes": (11, """(float[1,1,3,4] x) => (float[1,1,5,7] y)
        { n = Constant<value = float[0] {}>() s = Constant<value = int64[4] {1, 1, 5, 7}>()
          y = Resize<mode = "cubic", coordinate_transformation_mode = "align_corners">(x, n, n, s) }""", False),
    "Resize as in TensorFlow 1": (11, """(float[1,1,3,4] x) => (float[1,1,5,7] y)
        { n = Constant<value = float[0] {}>() s = Constant<value = int64[4] {1, 1, 5, 7}>()
          y = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn", nearest_mode = "floor">(x, n, n, s) }""",
        False),
    "Scatter": (9, """(float[3,3] x, float[1,3] u) => (float[3,3] y)
        { i = Constant<value = int64[1,3] {1, 0, 2}>() y = Scatter(x, i, u) }""", False),
    "Slice": (9, "(float[5,6] x) => (float[2,3] y) { y = Slice<starts = [1, -4], ends = [3, -1]>(x) }", True),
    "Slice, one axis": (
        7, "(float[5,6] x) => (float[5,2] y) { y = Slice<axes = [1], starts = [1], ends = [3]>(x) }", True),
    "Split": (7, "(float[2,6] x) => (float[2,2] y) { a, y, b = Split<axis = 1, split = [1, 2, 3]>(x) }", True),
    "Split, equal": (11, "(float[2,6] x) => (float[2,3] y) { a, y = Split<axis = 1>(x) }", True),
    "Split by input, equal": (13, "(float[2,6] x) => (float[2,3] y) { a, y = Split<axis = 1>(x) }", True),
    "TopK": (9, "(float[3,6] x) => (float[3,2] y, int64[3,2] i) { y, i = TopK<k = 2>(x) }", True),
    "Unsqueeze": (11, "(float[3] x) => (float[1,3,1] y) { y = Unsqueeze<axes = [0, 2]>(x) }", True),
    "Upsample": (
        7, "(float[1,1,2,3] x) => (float[1,1,4,9] y) { y = Upsample<scales = [1.0, 1.0, 2.0, 3.0]>(x) }", False),
    "Upsample, linear": (9, """(float[1,1,2,3] x) => (float[1,1,4,9] y)
        { s = Constant<value = float[4] {1, 1, 2, 3}>() y = Upsample<mode = "linear">(x, s) }""", False),
    "In a subgraph": (11, """(float[2,3] x) => (float[2,1,3] y) { c = Constant<value = int64 {1}>() b = Cast<to = 9>(c)
        y = If (b) <then_branch = t () => (float[2,1,3] p) { q = Softmax<axis = 0>(x) p = Unsqueeze<axes = [1]>(q) },
                    else_branch = e () => (float[2,1,3] r) { r = Unsqueeze<axes = [1]>(x) }> }""", False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rewrites(name, parse):
    opset, text, convertible = CASES[name]
    proto = parse(f"g {text}", opset=opset, ir=6)
    rng = np.random.default_rng(1)
    feeds = {
        v.name: rng.standard_normal([d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
        for v in proto.graph.input
    }
    expected = run(proto, feeds)
    for found, value in zip(run(upgraded(proto), feeds), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    if convertible:
        proto.ir_version = 8
        judged = run(onnx.version_converter.convert_version(proto, TARGET), feeds)
        for value, other in zip(expected, judged, strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


def test_softmax_of_unknown_rank(parse):
    proto = parse("g (float[] x) => (float[] y) { y = Softmax<axis = 2>(x) }", opset=11)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    after = upgrade(load(proto).proto, TARGET)
    np.testing.assert_allclose(run(after, {"x": x})[0], run(proto, {"x": x})[0], rtol=1e-5)


def test_roi_align_keeps_its_old_grid(parse):
    proto = parse(
        """g (float[1,1,6,6] x, float[1,4] r) => (float[1,1,2,2] y)
           { i = Constant<value = int64[1] {0}>() y = RoiAlign<output_height = 2, output_width = 2>(x, r, i) }""",
        opset=10,
    )
    feeds = {"x": np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6), "r": np.array([[1, 1, 4, 5]], np.float32)}
    assert apart(run(upgraded(proto), feeds)[0], run(proto, feeds)[0]) <= ROUNDING


@pytest.mark.parametrize(
    ("opset", "text", "message"),
    [
        (8, """(float[1,2,3] h, float[1,4,3] x) => (float[1,2,3] y, float[1,4,3] z) {
            y, z = Scan<num_scan_inputs = 1,
                body = b (float[2,3] s, float[3] i) => (float[2,3] t, float[3] o) { t = Add(s, i) o = Neg(i) }
            >("", h, x) }""",
         r"'Scan' \(node 'y'\) cannot be brought from opset 8 to 18: .*export the model again"),
        (9, """(float[2,3] x, float[3] s, float[3] m) => (float[2,3] y)
            { y, a, b, c, d = BatchNormalization(x, s, s, m, s) }""", "'BatchNormalization' .* training mode"),
        (11, """(float[1,1,3,4] x) => (float[1,1,5,7] y)
            { n = Constant<value = float[0] {}>() s = Constant<value = int64[4] {1, 1, 5, 7}>()
              y = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn">(x, n, n, s) }""",
         "'Resize' .* tf_half_pixel_for_nn"),
    ],
)  # fmt: skip
def test_what_has_no_equivalent_is_named(parse, opset, text, message):
    with pytest.raises(OpsetError, match=message):
        upgrade(parse(f"g {text}", opset=opset, ir=6), TARGET)


def test_newer_models_and_other_domains_are_left_alone(parse):
    proto = load(parse("g (float[3] x) => (float[3] y) { y = Exp(x) }", opset=20)).proto
    assert upgrade(proto, TARGET).SerializeToString() == proto.SerializeToString()
    foreign = parse(
        """<ir_version: 8, opset_import: ["" : 11, "my.domain" : 1]>
           g (float[3] x) => (float[1,3] y) { a = my.domain.Unsqueeze<axes = [0]>(x) y = Unsqueeze<axes = [0]>(a) }"""
    )
    nodes = upgrade(foreign, TARGET).graph.node
    assert [len(n.input) for n in nodes] == [1, 2]
    assert nodes[0].SerializeToString() == foreign.graph.node[0].SerializeToString()


@pytest.mark.parametrize("case", cases(lambda case: case["opset"].get("ai.onnx", TARGET) < TARGET))
def test_zoo_models_compute_the_same(case, zoo):
    model = load(zoo / "frameworks" / case / "model.onnx")
    after = upgrade(model.proto, TARGET)
    feeds = feeds_of(zoo / "frameworks" / case)
    for found, expected in zip(run(after, feeds), run(model.proto, feeds), strict=True):
        if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * max(1, np.abs(expected).max()))
        else:
            np.testing.assert_array_equal(found, expected)
