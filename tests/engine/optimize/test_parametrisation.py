"""Every parametrisation: its gradient by central differences, a picture and back, and what its noise looks like."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.errors import MethodError
from onnxray.engine.optimize.canvas import Canvas
from onnxray.engine.optimize.parametrisation import PARAMETRISATIONS, Painter
from onnxray.engine.optimize.parametrisations.maco import Maco


def photos(channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.standard_normal((4, channels, 40, 60)), 2), 3)
    low, high = smooth.min(), smooth.max()
    return list(((smooth - low) / (high - low)).astype(np.float32))


def painter(name: str, size: tuple[int, int] = (13, 10), channels: int = 3) -> Painter:
    canvas = Canvas("x", "NCHW", size, tuple(range(channels)), (1.0,) * channels, (0.0,) * channels)
    part = Maco(photos(channels)) if name == "maco" else PARAMETRISATIONS.make(name)
    return part.on(canvas, 1)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(13, 10), (16, 21), (37, 10), (12, 41)])
@pytest.mark.parametrize("name", PARAMETRISATIONS.all())
def test_gradient_by_central_differences(name: str, size: tuple[int, int], channels: int) -> None:
    paint = painter(name, size, channels)
    rng = np.random.default_rng(1)
    values = np.stack([paint.start(rng), paint.start(rng)])
    assert values.dtype == np.float32
    direction = rng.standard_normal(values.shape).astype(np.float32)
    pictures = paint.pictures(values)
    assert pictures.shape == (2, channels, *size)
    cotangents = rng.standard_normal(pictures.shape).astype(np.float32)
    step = np.float32(1e-2)
    ahead, behind = (paint.pictures(values + sign * step * direction).astype(np.float64) for sign in (1, -1))
    slope = ((ahead - behind) / (2 * step) * cotangents).sum()
    got = (paint.gradient(values, pictures, cotangents).astype(np.float64) * direction).sum()
    assert got == pytest.approx(slope, rel=0.01, abs=0.02)


@pytest.mark.parametrize("size", [(16, 21), (37, 53)])
@pytest.mark.parametrize("name", [name for name in PARAMETRISATIONS.all() if name != "maco"])
def test_a_picture_and_back(name: str, size: tuple[int, int]) -> None:
    paint = painter(name, size)
    picture = np.random.default_rng(2).uniform(0, 1, (3, *size)).astype(np.float32)
    again = paint.pictures(paint.values_of(picture)[None])[0]
    assert np.abs(again - picture).max() < 0.01


def test_maco_keeps_the_spectrum_of_the_images() -> None:
    paint = painter("maco", (24, 24), 1)
    rng = np.random.default_rng(3)
    planes = [np.abs(np.fft.rfft2(paint.plain(paint.start(rng)[None])[0, 0])) for _ in range(2)]
    inner = (slice(1, 12), slice(1, 12))  # a half spectrum holds the other columns twice
    np.testing.assert_allclose(planes[0][inner], planes[1][inner], rtol=1e-3)
    assert planes[0][1, 1] > 5 * planes[0][11, 11]


def test_maco_without_images() -> None:
    with pytest.raises(MethodError, match="maco needs images for its spectrum"):
        Maco().on(Canvas("x", "NCHW", (8, 8), (0, 1, 2), (1.0,) * 3, (0.0,) * 3))
    with pytest.raises(MethodError, match="has no spectrum for 5 channels"):
        Maco([np.zeros((4, 9, 9), np.float32)]).on(
            Canvas("x", "NCHW", (8, 8), tuple(range(5)), (1.0,) * 5, (0.0,) * 5)
        ).start(np.random.default_rng(0))
