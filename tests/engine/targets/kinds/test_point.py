"""Keypoints: the peak of a heat map, or of a keypoint's columns and rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray import Target
from onnxray.engine.detection.shapes import PERSON
from onnxray.engine.errors import TargetError
from onnxray.engine.targets.kinds.point import Point

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 3, 12, 16)).astype(np.float32)


def pose(parse: Parse, count: int = 17, last: bool = False) -> onnx.ModelProto:
    out = f"float[N, 6, 8, {count}] y" if last else f"float[N, {count}, 6, 8] y"
    end = "y = Transpose <perm = [0, 2, 3, 1]> (c)" if last else "y = Identity (c)"
    w = np.random.default_rng(0).standard_normal((count, 3, 3, 3)).astype(np.float32)
    return parse(
        f"m (float[N, 3, 12, 16] image) => ({out}) {{ c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w)  {end} }}",
        w=w,
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("given", "number"), [("point:left_knee", 13), ("point:Left knee", 13), ("point:0", 0)])
def test_the_peak_of_a_map(parse: Parse, last: bool, given: str, number: int) -> None:
    model = onnxray.load(pose(parse, last=last))
    y = onnxray.activations(model, X, ["y"])["y"]
    maps = np.moveaxis(y, -1, 1) if last else y
    for sample, e in enumerate(onnxray.explain(model, X, "gradient", given)):
        assert e.score == pytest.approx(float(maps[sample, number].max()), rel=1e-6)
        assert str(e.target) == f"point:{PERSON[number]}"
        assert Target.parse(str(e.target)) == e.target
        r, c = np.unravel_index(int(maps[sample, number].argmax()), (6, 8))
        place = f"{r},{c},{number}" if last else f"{number},{r},{c}"
        due = onnxray.explain(model, X[sample : sample + 1], "gradient", f"element:y:{place}")
        np.testing.assert_array_equal(e.values, due.values)


def test_names_are_those_of_the_card(parse: Parse) -> None:
    model = onnxray.load(pose(parse, 3), labels=["tail", "nose", "paw"])
    e = onnxray.explain(model, X[:1], "gradient", "point:paw")
    assert (str(e.target), e.label) == ("point:paw", "paw")
    assert e.score == pytest.approx(onnxray.explain(model, X[:1], "gradient", Target.point(2)).score)


def test_columns_and_rows_are_added(parse: Parse) -> None:
    """As SimCC exports: the same gradient as that of both elements."""
    proto = parse(
        """m (float[N, 3, 12, 16] image) => (float[N, 17, 32] simcc_x, float[N, 17, 24] simcc_y) {
             c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, w)  f = Flatten <axis = 2> (c)
             r = Reshape (c, flat)  simcc_x = MatMul (r, a)  simcc_y = MatMul (r, b) }""",
        w=RNG.standard_normal((17, 3, 3, 3)).astype(np.float32),
        flat=np.array([0, 17, 48]),
        a=RNG.standard_normal((48, 32)).astype(np.float32),
        b=RNG.standard_normal((48, 24)).astype(np.float32),
    )
    model = onnxray.load(proto)
    found = onnxray.activations(model, X[:1], ["simcc_x", "simcc_y"])
    places = {name: int(value[0, 5].argmax()) for name, value in found.items()}
    e = onnxray.explain(model, X[:1], "gradient", "point:left_shoulder")
    parts = [onnxray.explain(model, X[:1], "gradient", f"element:{name}:5,{at}") for name, at in places.items()]
    np.testing.assert_allclose(e.values, parts[0].values + parts[1].values, rtol=1e-5, atol=1e-4)
    assert e.score == pytest.approx(sum(p.score for p in parts), rel=1e-6)
    with pytest.raises(TargetError, match="the sum of two outputs"):
        onnxray.explain(model, X[:1], "gradient", "logit:point:5")


def test_all_points_lie_on_the_pixels_of_the_image(parse: Parse) -> None:
    """A photo twice as large as the model's plane: peaks of heat maps at half the plane's size, and of SimCC's lines."""
    photo = np.zeros((24, 32, 3), np.uint8)
    photo[9, 21] = 255
    w = np.zeros((3, 3, 1, 1), np.float32)
    w[1, 0] = 1
    maps = parse(
        """m (float[N, 3, 12, 16] image) => (float[N, 3, 6, 8] y) {
             c = Conv (image, w)  y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c) }""",
        w=w,
    )
    lines = parse(
        """m (float[N, 3, 12, 16] image) => (float[N, 3, 16] columns, float[N, 3, 12] rows) {
             c = Conv (image, w)  columns = ReduceMax <axes = [2], keepdims = 0> (c)  rows = ReduceMax <axes = [3], keepdims = 0> (c) }""",
        opset=17,
        w=w,
    )
    for proto, due in ((maps, (10.0, 22.0)), (lines, (9.0, 21.0))):
        model = onnxray.load(proto, size=[12, 16], mean=0, std=255, resize="stretch", labels=["a", "b", "c"])
        e = onnxray.explain(model, photo, "gradient", "point:b")
        assert isinstance(e.target, Point)
        assert e.target.pose is not None
        assert (e.target.pose.names, e.target.pose.number) == (("a", "b", "c"), 1)
        assert e.target.pose.points.shape == (3, 3)
        assert tuple(e.target.pose.points[1, :2]) == due  # the middle of the cell that the pixel is in
        assert e.target.pose.points[1, 2] == pytest.approx(e.score)


def test_refusals(parse: Parse) -> None:
    model = onnxray.load(pose(parse))
    for target, words in [
        ("point:17", "the points 0 to 16"),
        ("point:left_kne", "left_knee"),
        ("point:", "point:NAME or point:NUMBER"),
    ]:
        with pytest.raises(onnxray.OnnxrayError, match=words):
            onnxray.explain(model, X[:1], "gradient", target)
    with pytest.raises(TargetError, match="give its number, or their names with labels="):
        onnxray.explain(pose(parse, 4), X[:1], "gradient", "point:nose")
    one = parse(
        "m (float[N, 3, 12, 12] image) => (float[N, 12, 12] y) { c = Conv <pads = [1, 1, 1, 1]> (image, w)  y = Squeeze (c, one) }",
        w=np.ones((1, 3, 3, 3), np.float32),
        one=np.array([1]),
    )
    with pytest.raises(TargetError, match="is one map, not one for each keypoint"):
        onnxray.explain(one, np.ones((1, 3, 12, 12), np.float32), "gradient", "point:0")
