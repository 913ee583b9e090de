"""Whether the heat lies on the object: measures against a mask of its pixels.

A mask says where the object is, not where the network looks. A high value says that both agree; a low one may be the
map's fault, or the network's, which then uses something other than the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError
from .ranks import ranks

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


def relevance_rank(heat: ArrayLike, mask: ArrayLike) -> float:
    """The part, 0 to 1, of the K hottest pixels of `heat` (H, W) that lie in `mask` (H, W), K being the mask's pixels.

    Of pixels as hot as the K-th, the share that is expected of drawing among them.

    L. Arras, A. Osman and W. Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", Information Fusion 81, 2022, section 3.3 (relevance rank accuracy).

    Raises ShapeError for arrays that do not fit together, or an empty mask.
    """
    values, inside = _checked(heat, mask)
    count = int(inside.sum())
    least = np.partition(values.ravel(), values.size - count)[values.size - count]
    above, level = values > least, values == least
    drawn = (count - above.sum()) / level.sum()
    return float((above & inside).sum() + drawn * (level & inside).sum()) / count


def overlap(heat: ArrayLike, mask: ArrayLike, threshold: float | None = None) -> float:
    """Intersection over union, 0 to 1, of `mask` (H, W) and the pixels of at least `threshold` times the maximum of
    `heat` (H, W); None: of the threshold that fits best.

    B. Zhou, A. Khosla, A. Lapedriza, A. Oliva and A. Torralba, "Learning Deep Features for Discriminative
    Localization", CVPR 2016, section 3.2 (a fixed threshold); J. Choe et al., "Evaluating Weakly Supervised Object
    Localization Methods Right", CVPR 2020, section 3 (why the best one).

    Raises ShapeError for arrays that do not fit together, or an empty mask.
    """
    values, inside = _checked(heat, mask)
    if threshold is not None:
        hot = (values >= threshold * values.max()) & (values > 0)
        return float((hot & inside).sum() / (hot | inside).sum())
    order = np.argsort(-values.ravel(), kind="stable")
    falling = values.ravel()[order]
    hits = np.cumsum(inside.ravel()[order])
    ratios = hits / (np.arange(1, values.size + 1) + hits[-1] - hits)
    return float(ratios[np.append(falling[1:] < falling[:-1], True)].max())  # where a threshold can lie


def area_under_roc(heat: ArrayLike, mask: ArrayLike) -> float:
    """The probability, 0 to 1, that a pixel of `mask` (H, W) is hotter than one outside, ties counting half.

    Equal to the area under the ROC curve. Raises ShapeError for arrays that do not fit together, a mask that is empty,
    or one that covers everything.
    """
    values, inside = _checked(heat, mask)
    count = int(inside.sum())
    if count == inside.size:
        raise ShapeError("the mask covers the whole image: there is nothing to tell the object from")
    place = ranks(values.ravel())[inside.ravel()].sum()
    return float((place - count * (count - 1) / 2) / (count * (inside.size - count)))


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
