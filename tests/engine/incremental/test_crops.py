"""Copies and crops with windows hidden, and pasted crops, against NumPy's slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxray.engine.incremental.crops import Crops, HiddenSample, batch_view, sample_view
from onnxray.engine.incremental.windows import Hidden

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 9, 11)).astype(np.float32)
FILL = RNG.standard_normal((3, 9, 11)).astype(np.float32)
BOXES = np.array([(0, 0, 4, 3), (2, 5, 9, 11), (3, 3, 4, 4)], np.int64)
SEGMENTS = (np.indices((9, 11)).sum(axis=0) % 3).astype(np.int32)


def by_hand(window: int, fill: np.ndarray, segments: bool = False) -> np.ndarray:
    y0, x0, y1, x1 = BOXES[window]
    inside = np.zeros((9, 11), bool)
    inside[y0:y1, x0:x1] = True
    return np.where(inside & (window == SEGMENTS) if segments else inside, fill, X[0])


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("per_window", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_copies_and_crops(segments: bool, per_window: bool, last: bool) -> None:
    """`last`: channels last."""
    places: Any = (SEGMENTS, np.arange(3, dtype=np.int32)) if segments else ()
    order = (1, 2, 0) if last else (0, 1, 2)

    def turned(sample: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(sample.transpose(order))

    def filled(window: int) -> np.ndarray:
        return turned(FILL * (window + 1 if per_window else 1))

    hidden = Hidden(BOXES, filled if per_window else filled(0), *places)
    axes = (1, 2) if last else (2, 3)
    sample = HiddenSample(turned(X[0])[None], axes, hidden)
    windows = np.array([2, 0, 1, 0])
    expected = np.stack([turned(by_hand(w, FILL * (w + 1 if per_window else 1), segments)) for w in windows.tolist()])
    np.testing.assert_array_equal(sample.copies(windows), expected)
    at = np.array([(1, 2), (0, 0), (4, 6), (3, 5)], np.int64)
    whole = batch_view(expected, axes)
    out = np.empty((4, whole.shape[1], 5, 5, whole.shape[4]), np.float32)
    sample.crops(out, at, windows)
    for crop, image, (y, x) in zip(out, whole, at, strict=True):
        np.testing.assert_array_equal(crop, image[:, y : y + 5, x : x + 5])


def test_crops_of_several_sizes_are_pasted() -> None:
    clean = sample_view(X[0], (2, 3))
    small, large = (RNG.standard_normal((2, 3, n, n, 1)).astype(np.float32) for n in (2, 4))
    at = np.array([(0, 0), (5, 7), (3, 1), (5, 6)], np.int64)
    crops = Crops(4)
    crops.add(small, np.array([3, 0]), at[[3, 0]])
    crops.add(large, np.array([1, 2]), at[[1, 2]])
    windows = np.array([1, 2, 0, 3])
    out = np.empty((4, *clean.shape), np.float32)
    crops.paste(out, clean, np.zeros((4, 2), np.int64), windows)
    for got, window in zip(out, windows, strict=True):
        crop = {3: small[0], 0: small[1], 1: large[0], 2: large[1]}[window]
        (y, x), size = at[window], crop.shape[1]
        expected = clean.copy()
        expected[:, y : y + size, x : x + size] = crop
        np.testing.assert_array_equal(got, expected)
