"""Tiles: the same gradient as in one run where the network is local, and a small difference where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.dream import dreamer_of
from onnxray.engine.errors import Disconnected
from onnxray.engine.optimize.dream.recipe import DreamRecipe
from onnxray.engine.optimize.objectives.layer import WholeLayer

Parse = Callable[..., onnx.ModelProto]
SURFACE = Path(onnxray.__file__).parent / "models" / "surface.onnx"


def gradients(model: object, layer: str, picture: np.ndarray, tile: int, overlap: int) -> tuple[np.ndarray, ...]:
    whole = dreamer_of(model, DreamRecipe(tile=4096)).slope(WholeLayer(layer), picture.shape[1:])  # type: ignore[arg-type]
    tiled = replace(whole, tile=tile, overlap=overlap, _networks={})
    found = []
    for slope in (whole, tiled):
        gradient = slope(picture, (5, -3), np.random.default_rng(0))[1].astype(np.float64)
        found.append(gradient / np.abs(gradient).mean())
    return found[0], found[1]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (3, 256, 320)).astype(np.float32)


def test_tiles_equal_the_whole_picture(picture: np.ndarray, parse: Parse) -> None:
    """Two convolutions with strides see 11 pixels: a border of 16 is enough."""
    text = """g (float[n,3,h,w] x) => (y) {
      a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w) r = Relu (a)
      b = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, v) y = Relu (b) }"""
    rng = np.random.default_rng(1)
    proto = parse(
        text,
        w=rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        v=rng.standard_normal((5, 6, 3, 3)).astype(np.float32),
    )
    whole, tiled = gradients(proto, "y", picture, 96, 16)
    # One factor for all: the objective is a mean, over other numbers of places.
    np.testing.assert_allclose(tiled, whole, atol=1e-3)
    without, _ = gradients(proto, "y", picture, 4096, 0)
    np.testing.assert_array_equal(without, whole)


def test_the_builtin_model_differs_little(picture: np.ndarray) -> None:
    """Its fields are larger than the border: what lies beyond it counts little."""
    whole, tiled = gradients(SURFACE, "stage3/relu2", picture, 128, 32)
    assert np.abs(tiled - whole).mean() < 0.05
    worse = gradients(SURFACE, "stage3/relu2", picture, 128, 0)[1]
    assert np.abs(worse - whole).mean() > 2 * np.abs(tiled - whole).mean()


def test_memory_does_not_depend_on_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the picture's size, the network sees a tile."""
    from onnxray.engine.optimize.network import Network

    seen = set()
    run = Network.run

    def watched(self: Network, tensor: np.ndarray) -> object:
        seen.add(tensor.shape)
        return run(self, tensor)

    monkeypatch.setattr(Network, "run", watched)
    large = np.random.default_rng(0).uniform(0, 1, (3, 400, 530)).astype(np.float32)
    slope = dreamer_of(SURFACE, DreamRecipe(tile=128)).slope(WholeLayer("stage1/relu"), (400, 530))
    slope(large, (0, 0), np.random.default_rng(0))
    assert seen == {(1, 3, 128, 128)}


def test_a_gradient_that_is_not_finite(parse: Parse) -> None:
    proto = parse("g (float[n,3,h,w] x) => (y) { y = Log (x) }")
    slope = dreamer_of(proto, DreamRecipe(), mean=0, std=255).slope(WholeLayer("y"), (8, 8))
    with pytest.raises(Disconnected, match="the gradient of the objective is not finite"):
        slope(np.zeros((3, 8, 8), np.float32), (0, 0), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("size", "shift"), [((40, 30), (5, -3)), ((9, 7), (12, -20)), ((1, 5), (2, 3)), ((2, 2), (3, 3))]
)
def test_the_shift_is_undone_by_its_adjoint(size: tuple[int, int], shift: tuple[int, int], parse: Parse) -> None:
    """Of a sum of squares the gradient is 2 p, each pixel as often as it is seen."""
    slope = dreamer_of(parse("g (float[n,3,h,w] x) => (y) { y = Identity (x) }"), DreamRecipe(), mean=0, std=255).slope(
        WholeLayer("y"), size
    )
    picture = np.random.default_rng(0).uniform(0.1, 1, (3, *size)).astype(np.float32)
    _, gradient = slope(picture, shift, np.random.default_rng(0))
    rows, columns = (
        np.pad(np.arange(n), 30, mode="reflect")[30 - d : 30 - d + n] for n, d in zip(size, shift, strict=True)
    )
    seen = np.outer(np.bincount(rows, minlength=size[0]), np.bincount(columns, minlength=size[1]))
    np.testing.assert_allclose(gradient, 2 * picture * seen / picture.size, rtol=1e-4)
