"""What is measured of a map: its hottest region, how much of it lies on a part, how far its peak is from that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError, ShapeError
from ..figures.hottest_region import hottest
from ..files.images import connected_parts
from ..files.rle import to_rle

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ..parameters.line import Inspection


@dataclass(frozen=True)
class Measures:
    """What is measured. threshold: the share of the maximum that the hottest region begins at. part: bool (H, W), the
    user's region; mm: millimetres of a pixel."""

    threshold: float = 0.5
    part: NDArray[np.bool_] | None = None
    mm: float | None = None

    def of(self, e: Explanation) -> dict[str, Any]:
        """For records: boxes are y0, x0, y1, x1 in pixels, the ends not included; a peak is y, x.

        Raises ShapeError where the part's mask has another size than the image.
        """
        heat = e.heatmap
        regions = hottest(heat, self.threshold)
        if not regions.parts:
            nothing: dict[str, Any] = {"box": None, "peak": None, "area": 0, "share": 0.0, "rle": None, "polygons": []}
            return {"threshold": self.threshold, **nothing, **self._on_part(heat, None)}
        first = regions.parts[0]
        labels = connected_parts(regions.mask)[0]
        mask = labels == labels[first.peak]
        found: dict[str, Any] = {
            "threshold": self.threshold,
            "box": list(first.box),
            "peak": list(first.peak),
            "area": first.area,
            "share": first.area / mask.size,
            "rle": to_rle(mask),
            "polygons": [[float(v) for point in first.outline[:, ::-1] for v in point]],
            **self._on_part(heat, first.peak),
        }
        if self.mm is not None:
            found["area_mm2"] = first.area * self.mm**2
            found["box_mm"] = [edge * self.mm for edge in first.box]
        return found

    def _on_part(self, heat: NDArray[np.float32], peak: tuple[int, int] | None) -> dict[str, Any]:
        """The share of the heat on the part, and the distance of the peak from it."""
        if self.part is None:
            return {}
        if self.part.shape != heat.shape:
            raise ShapeError(
                f"the mask of --part has {self.part.shape[1]} x {self.part.shape[0]} pixels, the image "
                f"{heat.shape[1]} x {heat.shape[0]}: give a mask of the image's size"
            )
        positive = np.maximum(np.nan_to_num(heat), 0)
        total = float(positive.sum(dtype=np.float64))
        share = float(positive[self.part].sum(dtype=np.float64)) / total if total else 0.0
        distance = None if peak is None else self._distance(peak)
        found: dict[str, Any] = {"part": {"share_of_heat": share, "distance": distance}}
        if self.mm is not None and distance is not None:
            found["part"]["distance_mm"] = distance * self.mm
        return found

    def _distance(self, peak: tuple[int, int]) -> float:
        """Pixels from the peak to the nearest pixel of the part, 0 on it."""
        assert self.part is not None
        y, x = np.nonzero(self.part)
        return float(np.sqrt(((y - peak[0]) ** 2 + (x - peak[1]) ** 2).min()))


def measures_of(threshold: float, asked: Inspection) -> Measures:
    """What the options ask for, the part's mask read. Raises ImageError."""
    part = None if asked.part is None else read_part(asked.part)
    return Measures(threshold, part, asked.mm_per_pixel)


def asked_measures(threshold: float | None, asked: Inspection) -> Measures | None:
    """As `measures_of`; None where neither a part nor a scale is given."""
    if asked.part is None and asked.mm_per_pixel is None:
        return None
    return measures_of(threshold or 0.5, asked)


def read_part(path: Path) -> NDArray[np.bool_]:
    """The mask of a part: what is brighter than half. Raises ImageError, also for a mask of nothing."""
    from ..files.images import read

    mask = read(path).mean(axis=2) > 127
    if not mask.any():
        raise ImageError(f"the mask {str(path)!r} is empty: paint the part white")
    return np.asarray(mask, np.bool_)
