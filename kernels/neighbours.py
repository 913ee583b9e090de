"""The nearest of some rows, by Euclidean distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Products that are held at once.
_MOST = 1 << 22


def nearest(points: ArrayLike, rows: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For each of `points` (n, d) the distance to the nearest of `rows` (m, d), float32 (n,), and its number (n,).

    Which row is nearest is found by a product of matrices in float32, about the mean of the rows, so that little is
    lost to rounding; its distance is then summed from the differences. Of equal ones the first row is taken.

    Raises ValueError for shapes that do not fit, or no rows.
    """
    asked, known = np.ascontiguousarray(points, np.float32), np.ascontiguousarray(rows, np.float32)
    if asked.ndim != 2 or known.ndim != 2 or asked.shape[1:] != known.shape[1:] or not len(known):
        raise ValueError(f"points {asked.shape} and rows {known.shape} are not (n, d) and (m, d)")
    middle = known.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = known - middle
    squares = (centred * centred).sum(axis=1) / 2
    across = np.ascontiguousarray(centred.T)
    found, which = np.empty(len(asked), np.float32), np.empty(len(asked), np.int64)
    step = max(1, _MOST // len(known))
    for at in range(0, len(asked), step):
        part = asked[at : at + step]
        products = (part - middle) @ across
        products -= squares
        best = products.argmax(axis=1)
        which[at : at + step] = best
        found[at : at + step] = np.sqrt(((part - known[best]) ** 2).sum(axis=1))
    return found, which
