"""The smallest box that holds a share of what lies on a plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel

# Rows or columns from which on the plane is made coarser first: the search takes rows^2 * columns steps.
_MOST = 256


def smallest_box(weights: ArrayLike, share: float = 0.95) -> tuple[int, int, int, int] | None:
    """The box (y0, x0, y1, x1) of the least area that holds `share` of the sum of `weights` (H, W), none negative.

    Of equal ones the first by its rows, then by its columns. None where all weights are 0. Planes of more than 256 rows
    or columns are searched in cells of several pixels.

    Raises ValueError for another number of axes, negative or not finite weights, and shares that are not in 0 to 1.
    """
    plane = np.ascontiguousarray(weights, np.float64)
    if plane.ndim != 2 or not np.isfinite(plane).all() or (plane < 0).any() or not 0 < share <= 1:
        raise ValueError("weights must be finite, not negative, of shape (H, W), and share in 0 to 1")
    if not plane.any():
        return None
    cells = [max(1, -(-n // _MOST)) for n in plane.shape]
    coarse = _coarser(plane, cells)
    # What rounding takes away must not keep the whole plane from holding all of it.
    y0, x0, y1, x1 = _smallest(coarse, share * float(coarse.sum()) * (1 - 1e-12))
    height, width = plane.shape
    return y0 * cells[0], x0 * cells[1], min(height, y1 * cells[0]), min(width, x1 * cells[1])


def _coarser(plane: NDArray[np.float64], cells: list[int]) -> NDArray[np.float64]:
    for axis, n in enumerate(cells):
        plane = np.add.reduceat(plane, np.arange(0, plane.shape[axis], n), axis=axis)
    return np.ascontiguousarray(plane)


@kernel
def _smallest(plane, wanted):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    best = height * width
    found = (0, 0, height, width)
    for top in range(height):
        columns = np.zeros(width)
        for bottom in range(top + 1, height + 1):
            for x in range(width):
                columns[x] += plane[bottom - 1, x]
            rows = bottom - top
            if rows >= best:
                break
            # Two ends that only move to the right.
            total = 0.0
            left = 0
            for right in range(width):
                total += columns[right]
                while left < right and total - columns[left] >= wanted:
                    total -= columns[left]
                    left += 1
                if total >= wanted:
                    area = rows * (right + 1 - left)
                    if area < best:
                        best = area
                        found = (top, left, bottom, right + 1)
    return found
