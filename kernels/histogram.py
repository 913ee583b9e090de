"""Histograms with edges that are the same for all numbers, so that two of them are merged by adding their counts.

Bins grow with the number: four to each doubling, from 2^-16 to 2^16, for negative numbers alike, and one for everything
nearer to 0. A quantile is known to a quarter of a doubling.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .threads import bands

_OCTAVES, _PARTS, _LEAST_EXPONENT = 32, 4, -16
_HALF = _OCTAVES * _PARTS
BINS = 2 * _HALF + 1
# The first number that has a bin of its own, as the bits that count: exponent and two bits of the mantissa.
_FIRST = (_LEAST_EXPONENT + 127) << 2
_MOST_ROWS = 1 << 12


def edges() -> NDArray[np.float64]:
    """(BINS + 1,): where bins begin and end, ascending; the outermost hold what lies beyond them as well."""
    steps = np.arange(_HALF + 1)
    upper = 2.0 ** (_LEAST_EXPONENT + steps // _PARTS) * (1 + steps % _PARTS / _PARTS)
    return np.concatenate([-upper[::-1], upper])


def histogram(maps: ArrayLike, threads: int | None = None) -> NDArray[np.int64]:
    """Counts (units, BINS) of maps (N, units, places), taken as float32. NaN is not counted.

    Raises ValueError for another number of axes.
    """
    values = np.ascontiguousarray(maps, np.float32)
    if values.ndim != 3:
        raise ValueError(f"maps must have shape (N, units, places), got {values.shape}")
    counts = np.zeros((values.shape[1], BINS), np.int64)
    least = max(1, _MOST_ROWS // max(1, values.shape[0] * values.shape[2]))
    bands(
        lambda start, stop: _count(values[:, start:stop].view(np.int32), counts[start:stop]),
        values.shape[1],
        threads,
        least,
    )
    return counts


def quantile(counts: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    """(units,): the number below which `share` of the counts (units, BINS) lie, the middle of its bin; NaN for none."""
    total = counts.sum(axis=1)
    at = (np.cumsum(counts, axis=1) >= np.maximum(1, np.ceil(share * total))[:, None]).argmax(axis=1)
    limits = edges()
    middle = np.where(np.arange(BINS) == _HALF, 0.0, (limits[:-1] + limits[1:]) / 2)
    return np.where(total > 0, middle[at], np.nan)


@kernel
def _count(bits, counts):  # type: ignore[no-untyped-def]
    n, units, places = bits.shape
    for i in range(n):
        for u in range(units):
            for p in range(places):
                b = bits[i, u, p]
                size = b & 0x7FFFFFFF
                if size > 0x7F800000:
                    continue
                step = (size >> 21) - _FIRST
                if step < 0:
                    at = _HALF
                else:
                    step = min(step, _HALF - 1)
                    at = _HALF - 1 - step if b < 0 else _HALF + 1 + step
                counts[u, at] += 1
