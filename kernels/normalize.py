"""Display ranges: which two values of a map become the two ends of the colour scale.

Every function returns (lo, hi) with lo < hi, and looks at finite values only: NaN and infinities of the map do not
count. A map without contrast gets a range all the same: all values c give (c, c + max(1, |c|)), which shows c in the
scale's lowest colour; a map without any finite value gives (0, 1), or (-1, 1) where the range is symmetric.

The map itself is never changed: the range belongs into the figure's legend and the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def minmax(values: ArrayLike) -> tuple[float, float]:
    """The smallest and the largest value. values: any shape, any real dtype."""
    finite = _finite(values)
    if not finite.size:
        return 0.0, 1.0
    return _with_contrast(float(finite.min()), float(finite.max()))


def symmetric(values: ArrayLike) -> tuple[float, float]:
    """(-m, m), m the largest magnitude: 0 is the neutral centre of a diverging map. All zero: (-1, 1)."""
    finite = _finite(values)
    most = float(np.abs(finite).max()) if finite.size else 0.0
    return (-most, most) if most > 0 else (-1.0, 1.0)


def percentile(
    values: ArrayLike, lower: float = 1.0, upper: float = 99.0, *, signed: bool = False
) -> tuple[float, float]:
    """The range between two percentiles (0..100, linear interpolation), so that a few outliers do not take the scale.

    signed: (-m, m) with m the `upper` percentile of the magnitudes; `lower` is not used then. Where so many values are
    equal that the percentiles coincide, the full range is used.

    Raises ValueError unless 0 <= lower < upper <= 100.
    """
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentiles must satisfy 0 <= lower < upper <= 100, got {lower} and {upper}")
    finite = _finite(values)
    if signed:
        most = float(np.percentile(np.abs(finite), upper)) if finite.size else 0.0
        return (-most, most) if most > 0 else symmetric(finite)
    if not finite.size:
        return 0.0, 1.0
    lo, hi = (float(edge) for edge in np.percentile(finite, (lower, upper)))
    return (lo, hi) if lo < hi else minmax(finite)


def symmetric_of_parts(parts: Callable[[], Iterable[NDArray[np.float32]]]) -> tuple[float, float]:
    """As `symmetric` for values in parts that are too large together. parts: gives them anew at each call."""
    most = max((float(np.abs(part[np.isfinite(part)]).max(initial=0)) for part in parts()), default=0.0)
    return (-most, most) if most > 0 else (-1.0, 1.0)


def percentile_of_parts(parts: Callable[[], Iterable[NDArray[np.float32]]], upper: float = 99.0) -> tuple[float, float]:
    """As `percentile(values, upper=upper, signed=True)`, the same to the last bit, for float32 values in parts.

    Magnitudes are ordered as their bits are: the upper 16 are counted first, then the lower 16 of the place found.
    """
    counts = _counted(parts, lambda bits: bits >> 16)
    total = int(counts.sum())
    if not total:
        return -1.0, 1.0
    at = upper / 100 * (total - 1)
    low = int(at)
    below, above = (_ranked(parts, counts, rank) for rank in (low, min(low + 1, total - 1)))
    share, step = at - low, above - below  # as NumPy interpolates
    most = above - step * (1 - share) if share >= 0.5 else below + step * share
    return (-most, most) if most > 0 else symmetric_of_parts(parts)


def _ranked(parts: Callable[[], Iterable[NDArray[np.float32]]], counts: NDArray[np.int64], rank: int) -> float:
    """The magnitude of this rank; counts: how many have each pattern of the upper 16 bits."""
    sums = np.cumsum(counts)
    upper = int(np.searchsorted(sums, rank, side="right"))
    before = int(sums[upper - 1]) if upper else 0
    lower = _counted(parts, lambda bits: bits[bits >> 16 == upper] & 0xFFFF)
    place = int(np.searchsorted(np.cumsum(lower), rank - before, side="right"))
    return float(np.array(upper << 16 | place, np.uint32).view(np.float32))


def _counted(
    parts: Callable[[], Iterable[NDArray[np.float32]]], pick: Callable[[NDArray[np.uint32]], NDArray[Any]]
) -> NDArray[np.int64]:
    """How many finite magnitudes have each value of 16 bits that are picked from theirs."""
    counts = np.zeros(1 << 16, np.int64)
    for part in parts():
        bits = np.abs(part[np.isfinite(part)]).view(np.uint32)
        counts += np.bincount(pick(bits), minlength=1 << 16)
    return counts


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"values must be real numbers, got dtype {array.dtype}")
    flat = array.astype(np.float64).ravel()
    return flat[np.isfinite(flat)]


def _with_contrast(lo: float, hi: float) -> tuple[float, float]:
    return (lo, hi) if lo < hi else (lo, lo + max(1.0, abs(lo)))
