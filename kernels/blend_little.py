"""What `blend` does, by NumPy, for maps that have the image's size: the same bytes, without Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Pixels that are blended at once: intermediate results stay small.
_AT_ONCE = 1 << 16


def to_entries(values: NDArray[np.float64], lo: float, hi: float, last: int) -> tuple[NDArray[np.float32], bool]:
    """As `blend.to_entries`: map values (h, w) in units of table entries, plus 1/2, and whether there is a NaN."""
    span = hi * 0.5 - lo * 0.5
    share = np.where(values < lo, 0.0, np.where(values > hi, 1.0, 0.5)) if span <= 0 else _shares(values, lo, span)
    missing = np.isnan(values)
    share[missing] = np.nan
    with np.errstate(invalid="ignore"):
        entries: NDArray[np.float32] = (np.clip(share, -1e30, 1e30) * last + 0.5).astype(np.float32)
    return entries, bool(missing.any())


def _shares(values: NDArray[np.float64], lo: float, span: float) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        share: NDArray[np.float64] = (values * 0.5 - lo * 0.5) / span
    share[values == np.inf], share[values == -np.inf] = 1.0, 0.0
    return share


def blend(
    entries: NDArray[np.float32],
    lut: NDArray[np.uint64],
    weights: NDArray[np.uint64] | NDArray[np.uint16],
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """As `blend.blend_rows` for a map (H, W) over an image (H, W, 3) of the same size; `out` may be the image."""
    step = max(1, _AT_ONCE // entries.shape[1])
    for first in range(0, len(entries), step):
        rows = slice(first, first + step)
        part = entries[rows]
        place = np.where(np.isnan(part), len(lut) - 1, np.clip(np.nan_to_num(part), 0, len(lut) - 2)).astype(np.int64)
        colour, weight = lut[place], weights[np.minimum(place, len(weights) - 1)].astype(np.uint16).astype(np.uint32)
        for c in range(3):
            share = (image[rows, :, c] * weight) >> 8
            total = share + (colour >> np.uint64(16 * c) & np.uint64(0xFFFF)).astype(np.uint32)
            out[rows, :, c] = (total >> 8).astype(np.uint8)
