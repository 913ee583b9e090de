"""The warp against a plain float64 sampling written here, and its adjoint by dot products."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxray.kernels.warp import unwarp, warp

ORDER, GAIN, SHIFT = [2, 0, 1], [3.0, -2.0, 0.5], [1.0, 2.0, -3.0]


def slowly(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: float) -> np.ndarray:
    """(C, H, W) -> (C, h, w), pixel by pixel."""
    channels, height, width = picture.shape
    out = np.empty((channels, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = matrix @ (y, x, 1.0)
            top, left = math.floor(v), math.floor(u)
            for c in range(channels):
                value = 0.0
                for i in (0, 1):
                    for j in (0, 1):
                        inside = 0 <= top + i < height and 0 <= left + j < width
                        p = picture[c, top + i, left + j] if inside else fill
                        value += p * (v - top if i else 1 - v + top) * (u - left if j else 1 - u + left)
                out[c, y, x] = value
    return out


def matrices(rng: np.random.Generator, count: int) -> np.ndarray:
    angle = rng.uniform(-0.6, 0.6, count)
    scale = rng.uniform(0.7, 1.4, count)
    rows = [[scale * np.cos(angle), -np.sin(angle), rng.uniform(-4, 4, count)]]
    rows += [[np.sin(angle), scale * np.cos(angle), rng.uniform(-4, 4, count)]]
    return np.array(rows).transpose(2, 0, 1)


def test_equals_sampling_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.random((2, 3, 9, 12)).astype(np.float32)
    moves = matrices(rng, 2)
    got = warp(pictures, moves, (11, 10), fill=0.25, order=ORDER, gain=GAIN, shift=SHIFT)
    plain = np.stack([slowly(p[ORDER], m, (11, 10), 0.25) for p, m in zip(pictures, moves, strict=True)])
    wanted = plain * np.reshape(GAIN, (3, 1, 1)) + np.reshape(SHIFT, (3, 1, 1))
    assert got.dtype == np.float32
    assert np.abs(got - wanted).max() < 2e-5


@pytest.mark.parametrize("size", [(9, 12), (17, 5), (1, 1)])
def test_the_adjoint_by_dot_products(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    pictures = rng.standard_normal((3, 3, 9, 12)).astype(np.float32)
    cotangents = rng.standard_normal((3, 3, *size)).astype(np.float32)
    moves = matrices(rng, 3)
    linear = warp(pictures, moves, size, fill=0.0, order=ORDER, gain=GAIN).astype(np.float64)
    back = unwarp(cotangents, moves, (9, 12), order=ORDER, gain=GAIN).astype(np.float64)
    left, right = (linear * cotangents).sum(), (pictures * back).sum()
    assert left == pytest.approx(right, rel=1e-5, abs=1e-4)


def test_standing_still_changes_nothing() -> None:
    pictures = np.random.default_rng(2).random((1, 5, 8, 8)).astype(np.float32)
    still = np.eye(3)[None, :2]
    assert (warp(pictures, still, (8, 8)) == pictures).all()
    assert (unwarp(pictures, still, (8, 8)) == pictures).all()


def test_far_outside_is_the_fill() -> None:
    far = np.array([[[1, 0, 500.0], [0, 1, -500.0]]])
    pictures = np.ones((1, 1, 4, 4), np.float32)
    assert (warp(pictures, far, (4, 4), fill=0.5) == 0.5).all()
    assert not unwarp(pictures, far, (4, 4)).any()


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(3)
    pictures = rng.random((4, 3, 200, 240)).astype(np.float32)
    moves = matrices(rng, 4)
    assert (warp(pictures, moves, (200, 240), threads=4) == warp(pictures, moves, (200, 240), threads=1)).all()
    assert (unwarp(pictures, moves, (90, 80), threads=4) == unwarp(pictures, moves, (90, 80), threads=1)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"matrices": np.zeros((2, 2, 3))}, "matrices must have shape"),
        ({"order": [0, 0, 1]}, "each of 3 channels once"),
        ({"gain": [1.0]}, "one entry for each"),
        ({"pictures": np.zeros((3, 4, 4), np.float32)}, "pictures must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"pictures": np.zeros((1, 3, 4, 4), np.float32), "matrices": np.eye(3)[None, :2]}
    given |= change
    with pytest.raises(ValueError, match=words):
        warp(given.pop("pictures"), given.pop("matrices"), (4, 4), **given)  # type: ignore[arg-type]
