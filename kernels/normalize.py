"""Display ranges: which two values of a map become the two ends of the colour scale.

Every function returns (lo, hi) with lo < hi, and looks at finite values only: NaN and infinities of the map do not
count. A map without contrast gets a range all the same: all values c give (c, c + max(1, |c|)), which shows c in the
scale's lowest colour; a map without any finite value gives (0, 1), or (-1, 1) where the range is symmetric.

The map itself is never changed: the range belongs into the figure's legend and the manifest.
"""

from __future__ import annotations

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


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"values must be real numbers, got dtype {array.dtype}")
    flat = array.astype(np.float64).ravel()
    return flat[np.isfinite(flat)]


def _with_contrast(lo: float, hi: float) -> tuple[float, float]:
    return (lo, hi) if lo < hi else (lo, lo + max(1.0, abs(lo)))
