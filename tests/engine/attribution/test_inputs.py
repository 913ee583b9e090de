"""What is explained: which input, from which kinds of arrays, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.inputs import input_of
from onnxray.engine.attribution.photos import over_white

RNG = np.random.default_rng(11)
PIXELS = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
CARD = {"mean": [120, 110, 100], "std": [60, 60, 60]}

Parse = Callable[..., onnx.ModelProto]


@pytest.fixture
def two(parse: Parse) -> onnx.ModelProto:
    """A score of categories (embedded) and numbers; a third input that it does not depend on."""
    return parse(
        """g (int64[N, 2] cat, float[N, 2] num, float[N, 1] idle) => (float[N, 1] y, float[N, 1] z) {
            e = Gather(table, cat)  s = ReduceSum <keepdims = 0> (e, axis)  p = Mul(s, num)
            y = ReduceSum <keepdims = 1> (p, last)  z = Neg(idle)
        }""",
        table=RNG.normal(size=(6, 3)).astype(np.float32),
        axis=np.array([2], np.int64),
        last=np.array([1], np.int64),
    )


@pytest.fixture
def feeds() -> dict[str, np.ndarray]:
    num = np.array([[0.5, -1.0]], np.float32)
    return {"cat": np.array([[1, 4]]), "num": num, "idle": np.ones((1, 1), np.float32)}


@pytest.fixture
def photos_model(parse: Parse) -> onnx.ModelProto:
    return parse(
        """g (float[N, 3, 16, 16] image) => (float[N, 4] logits) {
            c = Conv <pads = [1, 1, 1, 1]> (image, k)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)
            logits = MatMul(f, v)
        }""",
        k=RNG.normal(size=(8, 3, 3, 3)).astype(np.float32),
        v=RNG.normal(size=(8, 4)).astype(np.float32),
    )


@pytest.mark.parametrize("how", ["explain", "load"])
def test_the_option_input_names_the_explained_tensor(
    two: onnx.ModelProto, feeds: dict[str, np.ndarray], how: str
) -> None:
    table = onnx.numpy_helper.to_array(two.graph.initializer[0]).sum(axis=1)
    expected = (table[feeds["cat"][0]] - table[0]) * feeds["num"][0]
    options = {"target": onnxray.Target.element("y", (0,)), "method": "ablation"}
    if how == "explain":
        found = onnxray.explain(two, feeds, input="cat", **options)
    else:
        found = onnxray.explain(onnxray.load(two, input="cat"), feeds, **options)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_inputs_that_are_held_fixed_are_named(two: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
    found = onnxray.explain(two, feeds, method="gradient", target=onnxray.Target.element("y", (0,)))
    (warning,) = [text for text in found.warnings if "only the input" in text]
    assert all(text in warning for text in ("'num'", "'cat'", "input='cat'"))
    assert "idle" not in warning


def test_an_input_that_does_not_exist(two: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="no model input named 'cats'.*'cat'"):
        onnxray.explain(two, feeds, input="cats", method="ablation")


def test_a_layout_that_does_not_fit_is_not_dropped(two: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="layout 'NCHW' does not fit"):
        onnxray.explain(two, feeds, input="num", layout="NCHW", method="gradient")


def test_options_that_prepare_images_and_have_nothing_to_prepare(
    two: onnx.ModelProto, feeds: dict[str, np.ndarray], photos_model: onnx.ModelProto
) -> None:
    element = onnxray.Target.element("y", (0,))
    found = onnxray.explain(two, feeds, method="gradient", target=element, mean=3, resize="crop")
    assert any("resize, mean prepare images and have no effect" in text for text in found.warnings)
    tensor = np.zeros((1, 3, 16, 16), np.float32)
    found = onnxray.explain(photos_model, tensor, method="gradient", mean=3, resize="crop")
    assert any("options resize prepare images and have no effect" in text for text in found.warnings)


@pytest.mark.parametrize("form", ["list", "batch", "tuple"])
def test_several_photos_are_prepared_as_one_is(photos_model: onnx.ModelProto, form: str) -> None:
    other = PIXELS[::-1].copy()
    given = {"list": [PIXELS, other], "batch": np.stack([PIXELS, other]), "tuple": (PIXELS, other)}[form]
    found = onnxray.explain(photos_model, given, target=0, **CARD)
    for one, photo in zip(found, (PIXELS, other), strict=True):
        alone = onnxray.explain(photos_model, photo, target=0, **CARD)
        np.testing.assert_allclose(one.values, alone.values, atol=1e-5)
        np.testing.assert_array_equal(one.image, photo)


def test_photos_of_different_sizes(photos_model: onnx.ModelProto) -> None:
    found = onnxray.explain(photos_model, [PIXELS, np.zeros((20, 30, 3), np.uint8)], target=0, **CARD)
    assert [one.heatmap.shape for one in found] == [(16, 16), (20, 30)]


def test_a_photo_in_a_dict(photos_model: onnx.ModelProto) -> None:
    one = onnxray.explain(photos_model, PIXELS, target=0, **CARD)
    np.testing.assert_array_equal(onnxray.explain(photos_model, {"image": PIXELS}, target=0, **CARD).values, one.values)


def test_transparent_photos_lie_over_white_and_one_channel_is_gray(photos_model: onnx.ModelProto) -> None:
    alpha = RNG.integers(0, 256, (16, 16, 1), dtype=np.uint8)
    expected = np.rint(PIXELS * (alpha / 255.0) + 255.0 - alpha)
    laid = over_white(np.concatenate([PIXELS, alpha], axis=2))
    assert np.abs(laid.astype(int) - expected).max() <= 1
    rgba = onnxray.explain(photos_model, np.concatenate([PIXELS, alpha], axis=2), target=0, **CARD)
    np.testing.assert_array_equal(rgba.values, onnxray.explain(photos_model, laid, target=0, **CARD).values)
    gray = onnxray.explain(photos_model, PIXELS[..., :1], target=0, **CARD)
    np.testing.assert_array_equal(gray.values, onnxray.explain(photos_model, PIXELS[..., 0], target=0, **CARD).values)


@pytest.mark.parametrize(
    "wrong",
    [
        PIXELS.astype(np.float32),
        PIXELS.astype(np.float32)[None],
        PIXELS.astype(np.int64),
        PIXELS.transpose(2, 0, 1),
        np.zeros((2, 16, 16, 4), np.float32),
        [PIXELS.astype(np.float32), np.zeros((4, 4, 3), np.float32)],
    ],
)
def test_pixels_that_look_like_a_tensor_are_refused_with_advice(photos_model: onnx.ModelProto, wrong: object) -> None:
    with pytest.raises(onnxray.OnnxrayError) as refused:
        onnxray.explain(photos_model, wrong, target=0, **CARD)
    assert "convert them to float32" not in str(refused.value)
    if isinstance(wrong, np.ndarray):
        assert "uint8 (H, W, 3)" in str(refused.value)


def test_a_state_without_named_axes_is_of_one_sample(parse: Callable[..., onnx.ModelProto]) -> None:
    """(layers, ?, units): the open axis is that of samples, whatever an open length is elsewhere."""
    rng = np.random.default_rng(0)
    proto = parse(
        "m (float[N, T] x, float[1, ?, 4] h) => (float[N, 4] y, float[1, N, 4] hn) { t = Transpose <perm = [1, 0]> (x)  "
        "u = Unsqueeze (t, last)  s, hn = RNN <hidden_size = 4> (u, w, r, , , h)  y = Squeeze (hn, first) }",
        w=rng.standard_normal((1, 4, 1)).astype(np.float32),
        r=rng.standard_normal((1, 4, 4)).astype(np.float32),
        last=np.int64([2]),
        first=np.int64([0]),
    )
    x = rng.standard_normal((1, 6)).astype(np.float32)
    found = onnxray.explain(proto, {"x": x}, "gradient", "element:y:1")
    given = onnxray.explain(proto, {"x": x, "h": np.zeros((1, 1, 4), np.float32)}, "gradient", "element:y:1")
    np.testing.assert_array_equal(found.values, given.values)
    assert any("they are zeros" in text for text in found.warnings)


def test_a_region_of_a_large_photo_is_not_copied(photos_model: onnx.ModelProto) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    part = whole[3:23, 5:35]
    given = input_of(onnxray.load(photos_model), part)
    assert given.images is not None
    assert np.shares_memory(given.images[0], whole)
    image = onnxray.explain(photos_model, part, "gradient", target=0).image
    assert image is not None
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, part)
    copied = onnxray.explain(photos_model, whole[..., ::-1], "gradient", target=0).overlay()
    np.testing.assert_array_equal(
        copied, onnxray.explain(photos_model, np.ascontiguousarray(whole[..., ::-1]), "gradient", target=0).overlay()
    )


def test_an_empty_batch_of_pictures_is_one_line(photos_model: onnx.ModelProto) -> None:
    with pytest.raises(onnxray.OnnxrayError):
        onnxray.explain(photos_model, np.zeros((0, 8, 8, 3), np.uint8), "gradient", target=0)
