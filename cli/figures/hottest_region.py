"""The hottest part of a heatmap: a mask, its outlines and its box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files.images import contours


@dataclass(frozen=True)
class Region:
    """What lies above a threshold.

    Attributes, in pixels as (y, x): `mask` bool (H, W); `outlines` of its parts, (n, 2) arrays, the largest first;
    `box` (y0, x0, y1, x1) of the largest part, the ends not included, None where nothing lies above; `peak`, the
    place of the greatest value; `level`, the value that the mask begins at; `share` of the image's area.
    """

    mask: NDArray[np.bool_]
    outlines: tuple[NDArray[np.int32], ...]
    box: tuple[int, int, int, int] | None
    peak: tuple[int, int]
    level: float

    @property
    def share(self) -> float:
        return float(self.mask.mean())

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The mask as uint8 (H, W, 3), white inside."""
        return np.repeat((self.mask * np.uint8(255))[..., None], 3, axis=2)

    def to_mapping(self) -> dict[str, Any]:
        """For manifests and JSON files."""
        return {
            "level": self.level,
            "area": int(self.mask.sum()),
            "share": self.share,
            "box": None if self.box is None else list(self.box),
            "peak": list(self.peak),
            "outlines": [outline.tolist() for outline in self.outlines],
        }


def hottest(heatmap: NDArray[np.float32], threshold: float, signed: bool) -> Region:
    """What of a heatmap (H, W) is at least `threshold` times its greatest value; of a signed one, by magnitude."""
    values = np.abs(heatmap) if signed else np.maximum(heatmap, 0)
    values = np.nan_to_num(values)
    peak = np.unravel_index(int(values.argmax()), values.shape)
    level = float(threshold * values.max())
    mask = (values >= level) & (values > 0)
    outlines = tuple(contours(mask))
    box = None
    if outlines:
        (y0, x0), (y1, x1) = outlines[0].min(axis=0), outlines[0].max(axis=0)
        box = (int(y0), int(x0), int(y1) + 1, int(x1) + 1)
    return Region(mask, outlines, box, (int(peak[0]), int(peak[1])), level)


def drawn(picture: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """The picture with the region's edge and its box, white next to black, so that they are seen on anything."""
    out: NDArray[np.uint8] = picture.copy()
    padded = np.pad(region.mask, 1)
    neighbours = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    out[np.any(neighbours, axis=0) & ~region.mask] = 0
    out[region.mask & ~np.all(neighbours, axis=0)] = 255
    if region.box is not None:
        y0, x0, y1, x1 = region.box
        out[y0, x0:x1], out[y1 - 1, x0:x1] = 255, 255
        out[y0:y1, x0], out[y0:y1, x1 - 1] = 255, 255
    return out
