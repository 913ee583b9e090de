"""The smallest box against all boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnxray.kernels.boxes import smallest_box


def judge(plane: np.ndarray, share: float) -> int:
    """The least area of all boxes that hold the share."""
    areas = []
    for y0, y1 in itertools.combinations(range(plane.shape[0] + 1), 2):
        for x0, x1 in itertools.combinations(range(plane.shape[1] + 1), 2):
            if plane[y0:y1, x0:x1].sum() >= share * plane.sum() * (1 - 1e-9):
                areas.append((y1 - y0) * (x1 - x0))
    return min(areas)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.3, 0.95, 1.0])
def test_no_box_is_smaller(seed, share):
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 4, (7, 9)) * (rng.random((7, 9)) < 0.4)
    box = smallest_box(plane, share)
    assert box is not None
    y0, x0, y1, x1 = box
    assert plane[y0:y1, x0:x1].sum() >= share * plane.sum() * (1 - 1e-9)
    assert (y1 - y0) * (x1 - x0) == judge(plane, share)


def test_a_single_pixel_a_large_plane_and_nothing():
    plane = np.zeros((700, 300))
    plane[433, 12] = 2
    assert smallest_box(plane[:200, :20]) is None
    y0, x0, y1, x1 = smallest_box(plane) or (0, 0, 0, 0)
    assert y0 <= 433 < y1 <= y0 + 3
    assert x0 <= 12 < x1 <= x0 + 2
    assert smallest_box(plane[400:600]) == (33, 12, 34, 14) or smallest_box(plane[400:600, :40]) == (33, 12, 34, 13)


@pytest.mark.parametrize("plane", [np.zeros(3), [[-1.0]], [[np.nan]]])
def test_what_is_no_plane_is_refused(plane):
    with pytest.raises(ValueError, match="finite"):
        smallest_box(plane)
