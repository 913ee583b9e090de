"""Images that are compared and texts of a pair, explained together: judged by each input alone and by brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import ShapeError
from onnxray.engine.inspect.input_sets import input_set

RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
TABLE = np.concatenate([np.zeros((1, 6)), RNG.standard_normal((19, 6))]).astype(np.float32)
A, B = RNG.standard_normal((2, 1, 3, 16, 16)).astype(np.float32)
P, Q = np.int64([[1, 2, 3]]), np.int64([[4, 5, 6, 7]])
Parse = Callable[..., onnx.ModelProto]


def pair(parse: Parse, opset: int = 18, second: str = "float[N, 3, 16, 16] b") -> onnxray.Model:
    """The product of what a convolution finds in two images."""
    axes = "(d, axis)" if opset > 12 else "<axes = [1]> (d)"
    proto = parse(
        f"m (float[N, 3, 16, 16] a, {second}) => (float[N, M] y) {{ c = Conv <pads = [1, 1, 1, 1]> (a, w)  r = Relu (c)  "
        "e = Conv <pads = [1, 1, 1, 1]> (b, w)  s = Relu (e)  g = GlobalAveragePool (r)  h = GlobalAveragePool (s)  "
        f"f = Flatten (g)  i = Flatten (h)  d = Mul (f, i)  y = ReduceSum {axes} }}",
        opset=opset,
        w=KERNEL,
        axis=np.int64([1]),
    )
    return onnxray.load(proto, answer="number")


def texts(parse: Parse) -> onnxray.Model:
    proto = parse(
        "m (int64[N, T] p, int64[N, S] q) => (float[N, 1] y) { e = Gather (t, p)  f = Gather (t, q)  "
        "a = ReduceSum <keepdims = 0> (e, axis)  b = ReduceSum <keepdims = 0> (f, axis)  d = Mul (a, b)  "
        "y = ReduceSum (d, axis) }",
        t=TABLE,
        axis=np.int64([1]),
    )
    return onnxray.load(proto, answer="number")


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "occlusion", "grad-cam", "hires-cam", "eigen-cam"])
def test_parts_are_those_of_each_image_alone(method: str, opset: int, parse: Parse) -> None:
    model = pair(parse, opset)
    e = onnxray.explain(model, {"a": A, "b": B}, method)
    assert list(e.parts) == ["a", "b"]
    assert e.inputs == ("a", "b")
    for name in ("a", "b"):
        one = onnxray.explain(onnxray.load(model, input=name), {"a": A, "b": B}, method)
        np.testing.assert_allclose(e.parts[name], one.values, rtol=1e-5, atol=1e-7)
        assert any("kept the values given" in text for text in one.warnings)
    assert not e.warnings
    assert e.heatmap.shape == (16, 32)
    assert e.overlay().shape == (16, 32, 3)


def test_images_move_together(parse: Parse) -> None:
    model = pair(parse)
    e = onnxray.explain(model, {"a": A, "b": B}, "integrated-gradients")
    assert e.values.sum() == pytest.approx(e.score, rel=1e-3)  # at two black images the score is 0
    shap = onnxray.explain(model, {"a": A, "b": B}, "kernel-shap", fill="zero")
    assert sum(np.unique(part).sum() for part in shap.parts.values()) == pytest.approx(e.score, rel=1e-3)


def test_superpixels_stay_in_their_image(parse: Parse) -> None:
    gray = np.full_like(A, 0.5)
    e = onnxray.explain(pair(parse), {"a": gray, "b": gray + 0.01}, "ablation", segments=4)
    assert not np.array_equal(e.parts["a"][:, -1], e.parts["b"][:, 0])


def test_cells_of_a_grid_stay_in_their_image(parse: Parse) -> None:
    model = pair(parse, second="float[N, 3, 16, 10] b")
    e = onnxray.explain(model, {"a": A, "b": B[..., :10]}, "ablation", segments="grid", grid="1x4")
    for name in ("a", "b"):  # 16 columns of 26: the third cell of four would be of both
        assert len(np.unique(e.parts[name])) == {"a": 3, "b": 2}[name]
    assert not set(np.unique(e.parts["a"])) & set(np.unique(e.parts["b"]))


def test_pictures_and_batches(parse: Parse) -> None:
    photos = RNG.integers(0, 256, (2, 20, 24, 3), np.uint8)
    model = onnxray.load(pair(parse), mean=127.5, std=127.5, size=16)
    e = onnxray.explain(model, {"a": photos[0], "b": photos[1]}, "gradient")
    assert e.image is not None
    np.testing.assert_array_equal(e.image, np.concatenate(photos, axis=1))
    assert e.heatmap.shape == (20, 48)
    for name, left in (("a", 0), ("b", 24)):
        one = onnxray.load(pair(parse), mean=127.5, std=127.5, input=name)
        due = onnxray.explain(one, {"a": photos[0], "b": photos[1]}, "gradient").heatmap
        np.testing.assert_allclose(e.heatmap[:, left : left + 24], due, rtol=1e-4, atol=1e-6)
    for method in ("gradient", "grad-cam"):
        e = onnxray.explain(model, {"a": photos[0], "b": photos[1]}, method)
        assert not [text for text in e.warnings if "ready tensor" in text]
    several = onnxray.explain(pair(parse), {"a": np.repeat(A, 3, 0), "b": np.repeat(B, 3, 0)}, "layer-cam")
    assert len(several) == 3
    np.testing.assert_allclose(several[2].parts["a"], several[0].parts["a"], rtol=1e-5)


SMALLER, DEPTH = RNG.standard_normal((1, 3, 12, 10)).astype(np.float32), A[:, :1, :10]


def with_depth(parse: Parse) -> onnxray.Model:
    """The product of what is found in an image and in a depth map of another size."""
    proto = parse(
        "m (float[N, 3, 16, 16] a, float[N, 1, 10, 16] b) => (float[N, M] y) { c = Conv <pads = [1, 1, 1, 1]> (a, w)  r = Relu (c)  "
        "e = Conv <pads = [1, 1, 1, 1]> (b, v)  s = Relu (e)  g = GlobalAveragePool (r)  h = GlobalAveragePool (s)  "
        "f = Flatten (g)  i = Flatten (h)  d = Mul (f, i)  y = ReduceSum (d, axis) }",
        w=KERNEL,
        v=KERNEL[:, :1],
        axis=np.int64([1]),
    )
    return onnxray.load(proto, answer="number")


@pytest.mark.parametrize("method", ["gradient", "input-x-gradient", "occlusion", "grad-cam", "hires-cam"])
@pytest.mark.parametrize(("kind", "opset"), [("size", 9), ("size", 18), ("depth", 18)])
def test_images_that_differ_are_explained_together(method: str, kind: str, opset: int, parse: Parse) -> None:
    model = with_depth(parse) if kind == "depth" else pair(parse, opset, "float[N, 3, 12, 10] b")
    second = DEPTH if kind == "depth" else SMALLER
    e = onnxray.explain(model, {"a": A, "b": second}, method)
    assert e.inputs == ("a", "b")
    assert not e.warnings
    for name, given in (("a", A), ("b", second)):
        one = onnxray.explain(onnxray.load(model, input=name), {"a": A, "b": second}, method)
        due = one.values
        if e.parts[name].shape != due.shape:  # cells of several sizes: maps over the model's planes
            due = one.heatmap
        np.testing.assert_allclose(e.parts[name], due, rtol=1e-5, atol=1e-7)
        assert due.shape[-2:] == given.shape[-2:] or method.endswith("cam") or method == "occlusion"


def test_images_that_differ_move_together(parse: Parse) -> None:
    e = onnxray.explain(with_depth(parse), {"a": A, "b": DEPTH}, "integrated-gradients")
    assert {name: part.shape for name, part in e.parts.items()} == {"a": (3, 16, 16), "b": (1, 10, 16)}
    assert sum(float(part.sum()) for part in e.parts.values()) == pytest.approx(e.score, rel=1e-3)


@pytest.mark.parametrize("method", ["gradient", "grad-cam"])
def test_heat_lies_on_the_pixels_of_each_image(method: str, parse: Parse) -> None:
    first = RNG.integers(0, 256, (20, 24, 3), np.uint8)
    second = RNG.integers(0, 256, (15, 40, 3), np.uint8)
    given = {"a": first, "b": second}
    card = {"mean": 127.5, "std": 127.5, "resize": "letterbox"}
    e = onnxray.explain(onnxray.load(pair(parse, second="float[N, 3, 12, 10] b"), **card), given, method)
    assert e.image is not None
    assert e.image.shape == (20, 64, 3)
    assert (e.image[15:, 24:] == 255).all()
    for name, left, (height, width) in (("a", 0, (20, 24)), ("b", 24, (15, 40))):
        one = onnxray.load(pair(parse, second="float[N, 3, 12, 10] b"), input=name, **card)
        due = onnxray.explain(one, given, method).heatmap
        np.testing.assert_allclose(e.heatmap[:height, left : left + width], due, rtol=1e-4, atol=1e-6)
    assert not e.heatmap[15:, 24:].any()
    assert e.overlay().shape == (20, 64, 3)


def test_what_is_no_set(parse: Parse) -> None:
    assert input_set(pair(parse, second="float[N, 3, 16, 8] b")) is not None
    maps = parse(
        "m (float[N, 3, 16, 16] a, float[N, 32, 4, 4] b) => (float[N, 32, 4, 4] y) { c = Conv <strides = [4, 4]> (a, w)  y = Add (c, b) }",
        w=np.zeros((32, 3, 4, 4), np.float32),
    )
    assert input_set(onnxray.load(maps)) is None  # features are no picture
    with pytest.raises(ShapeError, match="differ in their shapes"):
        onnxray.explain(pair(parse), {"a": np.repeat(A, 2, 0), "b": B}, "gradient")


def test_a_layer_that_is_named_is_of_one_image(parse: Parse) -> None:
    e = onnxray.explain(pair(parse), {"a": A, "b": B}, "grad-cam", layer="r")
    assert list(e.parts) == ["a"]
    assert any("'b' kept the values given" in text for text in e.warnings)


def test_texts_equal_brute_force_over_coalitions(parse: Parse) -> None:
    e = onnxray.explain(texts(parse), {"p": P, "q": Q}, "kernel-shap")
    ids = np.concatenate([P[0], Q[0]])

    def score(kept: tuple[int, ...]) -> float:
        rows = np.where(np.isin(np.arange(7), kept)[:, None], TABLE[ids], 0).astype(np.float64)
        return float(rows[:3].sum(0) @ rows[3:].sum(0))

    for token in range(7):
        others = [i for i in range(7) if i != token]
        total = 0.0
        for size in range(7):
            share = math.factorial(size) * math.factorial(6 - size) / math.factorial(7)
            total += sum(share * (score((*c, token)) - score(c)) for c in itertools.combinations(others, size))
        assert e.values[token] == pytest.approx(total, abs=1e-4)
    assert {name: part.shape for name, part in e.parts.items()} == {"p": (3,), "q": (4,)}


def test_gradients_of_texts_are_at_both_embeddings(parse: Parse) -> None:
    e = onnxray.explain(texts(parse), {"p": P, "q": Q}, "gradient")
    np.testing.assert_allclose(e.parts["p"], np.repeat(TABLE[Q[0]].sum(0)[None], 3, 0), rtol=1e-5)
    np.testing.assert_allclose(e.parts["q"], np.repeat(TABLE[P[0]].sum(0)[None], 4, 0), rtol=1e-5)
    path = onnxray.explain(texts(parse), {"p": P, "q": Q}, "integrated-gradients")
    assert path.values.sum() == pytest.approx(path.score, rel=1e-4)


def test_positions_are_no_second_text(parse: Parse) -> None:
    proto = parse(
        "m (int64[N, T] ids, int64[N, T] places) => (float[N, T, 6] y) { e = Gather (t, ids)  f = Gather (u, places)  "
        "y = Add (e, f) }",
        t=TABLE,
        u=TABLE[:9],
    )
    assert input_set(onnxray.load(proto)) is None
