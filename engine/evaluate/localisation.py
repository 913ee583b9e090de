"""Whether the heat lies on the object: measures against a mask of its pixels.

A mask tells where the object is, not where the network looks. A high value says that both agree; a low one may be the
map's fault, or the network's, which then uses something other than the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError

if TYPE_CHECKING:
    from ..attribution.explanation import Explanation


def energy(explanation: Explanation) -> NDArray[np.float32]:
    """The heat of an explanation without sign, float32 (H, W) on the original image: what is below 0 counts as none
    where the method shows what speaks for the target (class activation maps), else as much as what is above.
    """
    heat = explanation.heatmap
    return np.maximum(heat, 0) if explanation.display == "positive" else np.abs(heat)


def pointing_game(heat: ArrayLike, mask: ArrayLike, tolerance: float = 0) -> float:
    """1 if the hottest pixel of `heat` (H, W) lies in `mask` (H, W) or at most `tolerance` pixels from it, else 0.

    Of several equally hot pixels, the share that does: what is expected of one taken by chance, so that a map that is
    the same everywhere gets the mask's share of the image.

    J. Zhang, S. A. Bargal, Z. Lin, J. Brandt, X. Shen and S. Sclaroff, "Top-Down Neural Attention by Excitation
    Backprop", International Journal of Computer Vision 126, 2018, section 4.1 (tolerance: 15 pixels).

    Raises ShapeError for arrays that do not fit together, or an empty mask.
    """
    values, inside = _checked(heat, mask)
    if not tolerance >= 0 or not np.isfinite(tolerance):
        raise ShapeError(f"a tolerance of {tolerance} pixels is none: give a number of at least 0")
    return float(_widened(inside, tolerance)[values == values.max()].mean())


def energy_in_mask(heat: ArrayLike, mask: ArrayLike) -> float:
    """The part, 0 to 1, of the positive heat (H, W) that lies in `mask` (H, W); 0 where there is no heat at all.

    H. Wang, Z. Wang, M. Du, F. Yang, Z. Zhang, S. Ding, P. Mardziel and X. Hu, "Score-CAM: Score-Weighted Visual
    Explanations for Convolutional Neural Networks", CVPR workshops 2020, section 4.3 (energy-based pointing game).

    Raises ShapeError for arrays that do not fit together, or an empty mask.
    """
    values, inside = _checked(heat, mask)
    hot = np.maximum(values, 0)
    total = hot.sum()
    return float(hot[inside].sum() / total) if total > 0 else 0.0


def _checked(heat: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, inside = np.asarray(heat, np.float64), np.asarray(mask)
    if values.ndim != 2 or values.shape != inside.shape:
        raise ShapeError(
            f"a heatmap of shape {list(values.shape)} and a mask of shape {list(inside.shape)} do not lie over one "
            "another: both must be (H, W) of the same image"
        )
    if not np.isfinite(values).all():
        raise ShapeError("the heatmap has values that are not finite: there is no hottest pixel")
    inside = inside.astype(bool)
    if not inside.any():
        raise ShapeError("the mask is empty: there is no object to be found")
    return values, inside


def _widened(mask: NDArray[np.bool_], tolerance: float) -> NDArray[np.bool_]:
    """The pixels within `tolerance` of the mask, from pixel centre to pixel centre."""
    reach = int(tolerance)
    if not reach:
        return mask
    height, width = mask.shape
    # Counts of mask pixels left of every place: a row of a disc is a difference of two of them.
    counts = np.zeros((height, width + 1), np.int64)
    np.cumsum(mask, axis=1, out=counts[:, 1:])
    columns = np.arange(width)
    result = np.zeros_like(mask)
    for dy in range(-min(reach, height - 1), min(reach, height - 1) + 1):
        half = int((tolerance**2 - dy**2) ** 0.5)
        low, high = np.maximum(columns - half, 0), np.minimum(columns + half + 1, width)
        near = counts[:, high] > counts[:, low]
        result[max(0, -dy) : height - max(0, dy)] |= near[max(0, dy) : height - max(0, -dy)]
    return result
