"""Non-maximum suppression and overlaps of boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]


def overlaps(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(A, B): intersection over union of boxes (A, 4) and (B, 4), two corners each, in either order of axes."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(c[:, 2:] - c[:, :2], 0, None), axis=1) for c in (a, b)]
    whole = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))


def suppressed(
    boxes: Boxes, scores: NDArray[np.floating], labels: NDArray[np.int64], overlap: float, most: int
) -> NDArray[np.int64]:
    """The boxes that are left, best first: none overlaps a better one of its class by more than `overlap`.

    boxes: (K, 4). scores, labels: (K,). Returns at most `most` indices. Ties keep their order.
    """
    from ...kernels.matches import suppress

    order = np.argsort(-scores, kind="stable")
    return order[suppress(boxes[order], labels[order], overlap, most)]
