"""The parts of a heatmap above a threshold: a mask, and for each part its outline, its box and its peak."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..files.images import connected_parts, draw_text, grown, text_size
from . import figure

Side = Literal["positive", "negative", "both"]
Bands: TypeAlias = "Callable[[], Iterable[tuple[slice, NDArray[np.float32]]]]"

SIDES: tuple[Side, ...] = ("positive", "negative", "both")
# Parts that manifests list and pictures frame: a map of single pixels falls into thousands.
MOST = 10
BOX_ORDER = "y0, x0, y1, x1 in pixels of the image; y1 and x1 are not included"
_PIXELS_PER_LINE = 450  # of the image's longer side for one pixel of line width
_READABLE = 640  # the longer side that small pictures are enlarged to, at most
_ROWS = 1024  # of a picture whose edges are drawn at once
_LABELLED = 320  # the shorter side of pictures from which boxes have numbers


@dataclass(frozen=True)
class Part:
    """A connected part of the mask.

    outline: (n, 2) corners as (y, x). box: (y0, x0, y1, x1), the ends not included. peak: (y, x) of its strongest
    value, `value` that value with its sign. area: in pixels.
    """

    outline: NDArray[np.int32]
    box: tuple[int, int, int, int]
    peak: tuple[int, int]
    value: float
    area: int

    def to_mapping(self) -> dict[str, Any]:
        """For manifests and JSON files."""
        return {"box": list(self.box), "peak": list(self.peak), "value": self.value, "area": self.area}


@dataclass(frozen=True)
class Regions:
    """What lies above a threshold.

    mask: bool (H, W). parts: its connected parts, that with the strongest peak first. level: the magnitude that the
    mask begins at.
    """

    mask: NDArray[np.bool_]
    parts: tuple[Part, ...]
    level: float

    @property
    def share(self) -> float:
        """Of the image's area."""
        return float(self.mask.mean())

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The mask as uint8 (H, W, 3), white inside."""
        picture = np.empty((*self.mask.shape, 3), np.uint8)
        # In place: with a large photo, a mask of 0 and 255 and its copies would be the greatest use of memory.
        np.multiply(self.mask[..., None], np.uint8(255), out=picture)
        return picture

    def to_mapping(self) -> dict[str, Any]:
        """For manifests: the first parts; `box` and `peak` are those of the first."""
        first = self.parts[0] if self.parts else None
        return {
            "level": self.level,
            "area": int(self.mask.sum()),
            "share": self.share,
            "box": None if first is None else list(first.box),
            "box_order": BOX_ORDER,
            "peak": None if first is None else list(first.peak),
            "peak_order": "y, x",
            "parts_found": len(self.parts),
            "parts": [part.to_mapping() for part in self.parts[:MOST]],
        }

    def to_json(self) -> dict[str, Any]:
        """For JSON files: every part, with its outline."""
        parts = [{**part.to_mapping(), "outline": part.outline.tolist()} for part in self.parts]
        return {**self.to_mapping(), "parts": parts}


def hottest(heatmap: NDArray[np.float32], threshold: float, side: Side = "positive") -> Regions:
    """The parts of a heatmap (H, W) whose values are at least `threshold` times the strongest.

    side: which values count: what speaks for the target ("positive"), against it ("negative"), or both by magnitude.
    """
    return hottest_of(lambda: [(slice(0, len(heatmap)), heatmap)], heatmap.shape, threshold, side)


def hottest_of(bands: Bands, size: tuple[int, ...], threshold: float, side: Side = "positive") -> Regions:
    """The same of a heatmap of that size which comes some rows at a time, as often as it is asked for."""
    strongest = max((float(_strengths(heat, side).max(initial=0)) for _, heat in bands()), default=0.0)
    level = float(threshold * strongest)
    mask = np.zeros(size, np.bool_)
    for rows, heat in bands():
        strengths = _strengths(heat, side)
        mask[rows] = (strengths >= level) & (strengths > 0)
    labels, outlines, boxes, areas = connected_parts(mask)
    peaks, values = _peaks(bands, side, labels, len(outlines))
    parts = [
        Part(outline, box, peak, value, area)
        for outline, box, peak, value, area in zip(outlines, boxes, peaks, values, areas, strict=True)
    ]
    return Regions(mask, tuple(sorted(parts, key=lambda part: (-abs(part.value), part.peak))), level)


def _strengths(heat: NDArray[np.float32], side: Side) -> NDArray[np.float32]:
    signed = np.nan_to_num(heat)
    if side == "positive":
        return signed
    return np.negative(signed, out=signed) if side == "negative" else np.abs(signed, out=signed)


def _peaks(bands: Bands, side: Side, labels: NDArray[Any], count: int) -> tuple[list[tuple[int, int]], list[float]]:
    """(y, x) of the strongest value of each of the labels 1 to `count`, of equal ones the first in reading order, and
    that value with its sign."""
    most = np.full(count + 1, -1.0, np.float32)
    places, values = np.zeros((count + 1, 2), np.int64), np.zeros(count + 1, np.float32)
    for rows, heat in bands():
        inside = np.flatnonzero(labels[rows])
        numbers, strengths = labels[rows].ravel()[inside], _strengths(heat, side).ravel()[inside]
        here = np.full(count + 1, -1.0, np.float32)
        np.maximum.at(here, numbers, strengths)
        greatest = strengths == here[numbers]
        found, first = np.unique(numbers[greatest], return_index=True)
        at = inside[greatest][first]
        new = here[found] > most[found]
        found, at = found[new], at[new]
        most[found] = here[found]
        places[found, 0], places[found, 1] = at // heat.shape[1] + rows.start, at % heat.shape[1]
        values[found] = np.nan_to_num(heat.ravel()[at])
    return [(int(y), int(x)) for y, x in places[1:]], [float(value) for value in values[1:]]


def line_width(picture: NDArray[np.uint8]) -> int:
    """Pixels of a line that is seen when the whole picture is."""
    return max(1, round(int(max(picture.shape[:2])) / _PIXELS_PER_LINE))


def enlarged(picture: NDArray[np.uint8], regions: Regions) -> tuple[NDArray[np.uint8], Regions]:
    """A small picture with each pixel as a square, and the regions on it, so that lines and numbers can be seen."""
    factor = _READABLE // max(picture.shape[:2])
    if factor < 2:
        return picture, regions

    def larger(array: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(np.repeat(array, factor, axis=0), factor, axis=1)

    parts = [replace(part, box=tuple(factor * edge for edge in part.box)) for part in regions.parts]
    return larger(picture), replace(regions, mask=larger(regions.mask), parts=tuple(parts))


def drawn(picture: NDArray[np.uint8], regions: Regions, *, in_place: bool = False) -> NDArray[np.uint8]:
    """The picture with the edges of the parts, the boxes of the strongest, and their peak values.

    Lines are white next to black, so that they are seen on anything, and grow with the picture. in_place: the picture
    itself is drawn on, large ones being copied dearly.
    """
    out: NDArray[np.uint8] = picture if in_place else picture.copy()
    width = line_width(picture)
    for top in range(0, len(out), _ROWS):
        above = min(top, width)
        near = regions.mask[top - above : top + _ROWS + width]
        strip, here = out[top : top + _ROWS], slice(above, above + len(out[top : top + _ROWS]))
        mask = near[here]
        strip[grown(near, width)[here] & ~mask] = 0
        strip[mask & grown(~near, width)[here]] = 255
    for part in reversed(regions.parts[:MOST]):
        _frame(out, part.box, width)
    if min(picture.shape[:2]) >= _LABELLED:
        _label(out, regions.parts[:MOST])
    return out


def _frame(out: NDArray[np.uint8], box: tuple[int, int, int, int], width: int) -> None:
    """A white line inside the box; inside that a black one, if it leaves something to see."""
    roomy = min(box[2] - box[0], box[3] - box[1]) >= 8 * width
    for inset, ink in ((width, 0), (0, 255)) if roomy else ((0, 255),):
        y0, x0, y1, x1 = box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset
        out[y0 : y0 + width, x0:x1], out[max(y0, y1 - width) : y1, x0:x1] = ink, ink
        out[y0:y1, x0 : x0 + width], out[y0:y1, max(x0, x1 - width) : x1] = ink, ink


def _label(out: NDArray[np.uint8], parts: Sequence[Part]) -> None:
    """The peak value above each box, or within it at the picture's top; where two meet, the stronger is written."""
    size = max(14, round(max(out.shape[:2]) / 45))
    taken = np.zeros(out.shape[:2], np.bool_)
    for part in parts:
        words = figure.number(part.value)
        across, high = text_size(words, size)
        y = part.box[0] - high - 2 if part.box[0] >= high + 2 else part.box[0] + 2
        x = min(max(0, part.box[1]), max(0, out.shape[1] - across - 6))
        place = slice(y, y + high), slice(x, x + across + 6)
        if not taken[place].any():
            taken[place] = True
            out[place] = 0
            draw_text(out, words, (x + 3, y), size, (255, 255, 255))
