"""The part of an image that a projected unit looks at, next to what the unit reacts to in it.

As in figure 2 of M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import figure

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

Box = tuple[int, int, int, int]

# A part larger than this share of the image is no crop.
_LARGEST = 0.5


def support(e: Explanation) -> Box | None:
    """Where a unit's map in colours is not zero, (y0, x0, y1, x1) in pixels of the image, made square where it can be.

    That is the unit's receptive field, as far as signals come through. None for targets that are no unit, for maps of
    one channel, and where the box is most of the image.
    """
    from ...engine.targets.kinds.unit import Unit

    if e.channels is None or not e.in_colours or not isinstance(e.target, Unit) or e.target.at is None:
        return None
    rows, columns = (np.flatnonzero(np.any(e.channels != 0, axis=(0, axis))) for axis in (2, 1))
    if not rows.size or not columns.size:
        return None
    corners = np.array([[rows[0], columns[0]], [rows[-1] + 1, columns[-1] + 1]], np.float64)
    if e.geometry is not None:
        corners = e.geometry.to_original(corners)
        height, width = e.geometry.original
    else:
        height, width = e.channels.shape[1:]
    (y0, y1), (x0, x1) = (_interval(corners[:, axis], side, corners) for axis, side in ((0, height), (1, width)))
    if y1 - y0 < 2 or x1 - x0 < 2 or (y1 - y0) * (x1 - x0) > _LARGEST * height * width:
        return None
    return y0, x0, y1, x1


def own_range(e: Explanation) -> tuple[float, float]:
    """The range of a unit's colours: zeros, most of such a map, do not count."""
    assert e.channels is not None
    magnitudes = np.abs(e.channels[e.channels != 0])
    most = float(np.percentile(magnitudes, 99.5)) if magnitudes.size else 1.0
    return -most, most


def _interval(ends: NDArray[np.float64], side: int, corners: NDArray[np.float64]) -> tuple[int, int]:
    """Whole pixels of one axis, as long as the longer axis of the box, within the image."""
    longest = float((corners[1] - corners[0]).max())
    middle = float(ends.mean())
    first = max(0, int(np.floor(min(middle - longest / 2, side - longest))))
    return first, min(side, int(np.ceil(first + longest)))


def pair(image: NDArray[np.uint8], picture: NDArray[np.uint8], box: Box, width: int) -> figure.Block:
    """The part of the image and that of the picture of the map, side by side within `width`, enlarged."""
    y0, x0, y1, x1 = box
    side = (width - 6) // 2
    parts = [
        figure.framed(figure.picture(np.ascontiguousarray(whole[y0:y1, x0:x1]), side)) for whole in (image, picture)
    ]
    return figure.side_by_side(parts, gap=4)
