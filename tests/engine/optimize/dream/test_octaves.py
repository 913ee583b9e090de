"""Two octaves of three steps against a re-implementation in float64 with SciPy and Pillow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from scipy.ndimage import correlate1d
from scipy.signal import convolve2d, correlate2d

import onnxray
from onnxray.engine.dream import Dreamer, dreamer_of
from onnxray.engine.errors import ShapeError
from onnxray.engine.optimize.dream.octaves import shifts
from onnxray.engine.optimize.dream.recipe import DreamRecipe
from onnxray.engine.optimize.objectives.layer import WholeLayer

Parse = Callable[..., onnx.ModelProto]
TEXT = "g (float[n,3,h,w] x) => (y) { a = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu (a) }"
MEAN, STD = np.array([120.0, 110.0, 100.0]), np.array([60.0, 55.0, 50.0])


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.fixture
def proto(weights: np.ndarray, parse: Parse) -> onnx.ModelProto:
    return parse(TEXT, w=weights)


class Judge:
    """The dream of one convolution with a rectifier, all in float64; the tensor is BGR."""

    def __init__(self, weights: np.ndarray, recipe: DreamRecipe) -> None:
        self.weights, self.recipe = weights.astype(np.float64), recipe
        root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
        root /= np.linalg.norm(root, axis=0).max()
        self.covariance = root @ root.T

    def slope(self, picture: np.ndarray) -> tuple[float, np.ndarray]:
        tensor = (picture[::-1] * 255 - MEAN[:, None, None]) / STD[:, None, None]
        padded = np.pad(tensor, ((0, 0), (1, 1), (1, 1)))
        gradient = np.zeros_like(padded)
        maps = [sum(correlate2d(padded[c], k[c], "valid") for c in range(3)) for k in self.weights]
        size = len(maps) * maps[0].size
        score = sum((np.maximum(m, 0) ** 2).sum() for m in maps) / size
        for m, k in zip(maps, self.weights, strict=True):
            for c in range(3):
                gradient[c] += convolve2d(2 * np.maximum(m, 0) / size, k[c])
        inner = gradient[:, 1:-1, 1:-1] * (255 / STD)[:, None, None]
        return score, inner[::-1]

    def smooth(self, gradient: np.ndarray) -> np.ndarray:
        mixed, total = np.tensordot(self.covariance, gradient, 1), np.zeros(gradient.shape)
        for sigma in self.recipe.blurs:
            at = np.arange(-np.ceil(3 * sigma), np.ceil(3 * sigma) + 1)
            line = np.exp(-0.5 * (at / sigma) ** 2)
            line /= line.sum()
            total += correlate1d(correlate1d(mixed, line, axis=1, mode="mirror"), line, axis=2, mode="mirror")
        return total

    def dream(self, original: np.ndarray) -> np.ndarray:
        octaves, ratio = self.recipe.octaves or 1, self.recipe.ratio
        picture = base = None
        for number in range(octaves):
            size = tuple(round(n / ratio ** (octaves - 1 - number)) for n in original.shape[1:])
            last, base = base, enlarged(original, size)
            # Detail of the original that the smaller size does not have.
            picture = base if picture is None else enlarged(picture, size) + base - enlarged(last, size)
            picture = np.clip(picture, 0, 1)
            for _, shift in zip(range(self.recipe.steps), shifts(self.recipe, number), strict=False):
                # Which pixel is seen where, by NumPy's own mirroring.
                numbers = np.arange(picture[0].size).reshape(picture[0].shape)
                window = [slice(9 - d, 9 - d + n) for d, n in zip(shift, numbers.shape, strict=True)]
                shown = np.pad(numbers, 9, mode="reflect")[window[0], window[1]].ravel()
                _, gradient = self.slope(picture.reshape(3, -1)[:, shown].reshape(picture.shape))
                back = [np.bincount(shown, plane.ravel(), numbers.size) for plane in gradient]
                move = self.smooth(np.reshape(back, picture.shape))
                picture = np.clip(picture + self.recipe.rate * move / np.abs(move).mean(), 0, 1)
        assert picture is not None
        return picture


def enlarged(picture: Any, size: tuple[int, ...]) -> np.ndarray:
    planes = [Image.fromarray(p.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR) for p in picture]
    return np.stack([np.asarray(p, np.float64) for p in planes])


def dreamer(proto: onnx.ModelProto, recipe: DreamRecipe) -> Dreamer:
    return dreamer_of(proto, recipe, order="BGR", mean=tuple(MEAN), std=tuple(STD))


@pytest.mark.parametrize("octaves", [1, 2])
def test_equals_a_float64_reimplementation(octaves: int, proto: onnx.ModelProto, weights: np.ndarray) -> None:
    original = np.random.default_rng(0).uniform(0.2, 0.8, (3, 40, 31)).astype(np.float32)
    recipe = DreamRecipe(octaves=octaves, steps=3, rate=0.02, jitter=5, seed=4)
    _, made = dreamer(proto, recipe).dream(WholeLayer("y"), original)
    judge = Judge(weights, recipe)
    wanted = judge.dream(original.astype(np.float64))
    assert np.abs(made.picture - wanted).max() < 2e-4
    assert made.before == pytest.approx(judge.slope(original.astype(np.float64))[0], rel=1e-4)
    assert made.after == pytest.approx(judge.slope(wanted)[0], rel=1e-3)
    assert made.after > 1.5 * made.before
    assert len(made.history) == 3 * octaves


def test_without_steps_the_image_is_kept(proto: onnx.ModelProto) -> None:
    original = np.random.default_rng(0).uniform(0, 1, (3, 140, 131)).astype(np.float32)
    _, made = dreamer(proto, DreamRecipe(octaves=3, steps=0)).dream(WholeLayer("y"), original)
    assert np.abs(made.picture - original).max() < 1e-6


def test_octaves_that_nobody_asked_for_fit(proto: onnx.ModelProto) -> None:
    def sizes(height: int, width: int, octaves: int | None = None) -> tuple[tuple[int, int], ...]:
        original = np.full((3, height, width), 0.5, np.float32)
        recipe = DreamRecipe(octaves=octaves, steps=0)
        return dreamer(proto, recipe).dream(WholeLayer("y"), original)[1].sizes

    assert sizes(280, 420) == ((102, 153), (143, 214), (200, 300), (280, 420))
    assert sizes(100, 150) == ((71, 107), (100, 150))
    assert sizes(20, 30) == ((20, 30),)
    assert sizes(20, 30, 2) == ((14, 21), (20, 30))


def test_octaves_that_are_too_small(parse: Parse) -> None:
    proto = parse("g (float[n,3,h,w] x) => (y) { y = Conv (x, w) }", w=np.ones((1, 3, 9, 9), np.float32))
    with pytest.raises(ShapeError, match="too small for 4 octaves: number 1 would have 7x11 pixels"):
        onnxray.dream(proto, np.zeros((20, 30, 3), np.uint8), "y", octaves=4)
