"""A few points that stand for many: greedy k-center, the farthest point next.

T. Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985: no choice of as many points comes closer
to all others than half as close. Nothing is drawn at random: the first point is the one nearest to the mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .threads import bands

# Numbers that a band of rows holds at least.
_LEAST = 1 << 18


def farthest_points(points: ArrayLike, count: int, threads: int | None = None) -> NDArray[np.int64]:
    """The numbers (at most `count`,) of points chosen one after the other, each the farthest from those before it.

    points: (n, d), taken as float32, finite. Of equally far points the first is taken; where no point is left that
    differs from all chosen ones, there are fewer than `count`. Distances are Euclidean, squares are summed in float32.

    Raises ValueError for another shape, no points, or a count below 1.
    """
    rows = np.ascontiguousarray(points, np.float32)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"points must have shape (n, d) and not be empty, got {rows.shape}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    least = np.full(len(rows), np.inf, np.float32)
    at = _nearest_to_mean(rows)
    chosen: list[int] = []
    while len(chosen) < count:
        chosen.append(at)
        centre = rows[at].copy()
        bands(
            lambda start, stop, centre=centre: _closer(rows, centre, least, start, stop),  # type: ignore[misc]
            len(rows),
            threads,
            max(1, _LEAST // rows.shape[1]),
        )
        at = int(least.argmax())
        if not least[at] > 0:
            break
    return np.array(chosen, np.int64)


def _nearest_to_mean(rows: NDArray[np.float32]) -> int:
    mean = rows.mean(axis=0, dtype=np.float64)
    return int(((rows - mean) ** 2).sum(axis=1).argmin())


# Sums run over several numbers at once; points are finite.
@kernel(fastmath={"reassoc", "contract", "nnan"})
def _closer(rows: Any, centre: Any, least: Any, start: int, stop: int) -> None:
    """least[r] = min(least[r], the squared distance of row r from the centre)."""
    width = rows.shape[1]
    for r in range(start, stop):
        total = np.float32(0)
        for c in range(width):
            step = rows[r, c] - centre[c]
            total += step * step
        least[r] = min(least[r], total)
