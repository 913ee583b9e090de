"""Boxes of a detector drawn on pictures: all thin, the explained one thick with its label and score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.targets.kinds.box import Box
from ..files.images import draw_text, text_size
from ..terminal.echo import one_line
from . import figure
from .box_shapes import outline, skeleton

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.detection.detections import Detection

# Told apart by people who see red and green alike (Okabe and Ito 2008), dark enough for white letters.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 128, 96), (170, 60, 130), (120, 90, 0), (90, 70, 190))
_EDGE = (255, 255, 255)
# Pictures smaller than this are enlarged, so that labels can be read.
LEAST_SIDE = 560


def drawn(
    pixels: NDArray[np.uint8], boxes: Sequence[Detection], strong: int | None = None, labels: bool = True
) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) with boxes on it; `strong` is the number of the one that is explained, the others have no label.

    Small pictures are enlarged by a whole factor.
    """
    factor = max(1, math.ceil(LEAST_SIDE / max(pixels.shape[:2])))
    image = np.ascontiguousarray(np.repeat(np.repeat(pixels, factor, 0), factor, 1))
    thin = max(1, round(max(image.shape[:2]) / 500))
    order = [i for i in range(len(boxes)) if i != strong] + ([] if strong is None else [strong])
    # Less certain boxes first: the better ones lie on top.
    for i in sorted(order, key=lambda i: (i == strong, -i)):
        box = boxes[i]
        ink = COLOURS[box.label % len(COLOURS)]
        edges = [round(edge * factor) for edge in box.box]
        width = 3 * thin if i == strong else thin
        _frame(image, edges, width, ink)
        outline(image, box, factor, width, ink)
        skeleton(image, box, factor, width, ink)
    for i in order:
        if labels and (strong is None or i == strong):
            _label(image, boxes[i], factor, COLOURS[boxes[i].label % len(COLOURS)], thin)
    return image


def crop(pixels: NDArray[np.uint8], box: Sequence[float], times: float = 2.0) -> NDArray[np.uint8]:
    """The part of a picture around a box (y0, x0, y1, x1), `times` as long along either side, within the picture."""
    return pixels[window(pixels.shape[:2], box, times)]


def window(size: Sequence[int], box: Sequence[float], times: float = 2.0) -> tuple[slice, slice]:
    """The rows and columns of that part."""
    found = []
    for axis in (0, 1):
        middle, half = (box[axis] + box[axis + 2]) / 2, max(4.0, (box[axis + 2] - box[axis]) * times / 2)
        first = int(np.clip(math.floor(middle - half), 0, size[axis] - 1))
        found.append(slice(first, max(first + 1, min(size[axis], math.ceil(middle + half)))))
    return found[0], found[1]


def _frame(image: NDArray[np.uint8], edges: Sequence[int], width: int, ink: figure.Colour) -> None:
    """Four lines inside a box, a light one around them so that they are seen on any ground."""
    height, across = image.shape[:2]
    for wide, colour in ((width + 2, _EDGE), (width, ink)):
        off = (wide - width) // 2
        y0, x0 = max(0, edges[0] - off), max(0, edges[1] - off)
        y1, x1 = min(height, edges[2] + off), min(across, edges[3] + off)
        if y1 <= y0 or x1 <= x0:
            continue
        image[y0 : min(y1, y0 + wide), x0:x1] = colour
        image[max(y0, y1 - wide) : y1, x0:x1] = colour
        image[y0:y1, x0 : min(x1, x0 + wide)] = colour
        image[y0:y1, max(x0, x1 - wide) : x1] = colour


def _label(image: NDArray[np.uint8], box: Detection, factor: int, ink: figure.Colour, thin: int) -> None:
    """Name and probability on a ground of the box's colour, above the box, or in it where there is no room."""
    words = f"{box.title} {100 * box.score:.0f} %"
    label(image, words, (round(box.box[0] * factor), round(box.box[1] * factor)), ink, thin)


def label(image: NDArray[np.uint8], words: str, at: tuple[int, int], ink: figure.Colour, thin: int) -> None:
    """Words on a ground of that colour, above the place (y, x), or below it where there is no room."""
    size = max(13, 8 + 4 * thin)
    wide, high = text_size(words, size)
    wide, high = wide + 8, high + 4
    y = at[0] - high
    y = y if y >= 0 else at[0]
    x = int(np.clip(at[1], 0, max(0, image.shape[1] - wide)))
    y = int(np.clip(y, 0, max(0, image.shape[0] - high)))
    image[y : y + high, x : x + wide] = ink
    draw_text(image, words, (x + 4, y + 2), size, _EDGE)


# ---- explanations of boxes


def of(e: Explanation) -> Box | None:
    """The box that is explained, None for other targets."""
    target = e.target
    return target if isinstance(target, Box) and target.found is not None and target.among is not None else None


def inside(e: Explanation, box: Sequence[float]) -> float | None:
    """The share of the heat (of its magnitude, where it is signed) inside a box; None where there is no heat."""
    heat = np.abs(e.heatmap) if e.display == "signed" else np.clip(e.heatmap, 0, None)
    heat = np.nan_to_num(heat)
    total = float(heat.sum())
    y0, x0, y1, x1 = (round(edge) for edge in box)
    return float(heat[max(0, y0) : y1, max(0, x0) : x1].sum()) / total if total > 0 else None


def overlay(e: Explanation, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The map on the image with all boxes thin and the explained one thick, its label and probability above it."""
    box = of(e)
    if box is None or box.among is None:
        return pixels
    return drawn(pixels, list(box.among), box.among_all - 1)


def entry(e: Explanation) -> dict[str, Any]:
    """What the manifest says of the explained box."""
    box = of(e)
    if box is None or box.found is None or box.among is None:
        return {}
    share = inside(e, box.found.box)
    return {"box": {**box.among.to_mapping()[box.among_all - 1], "heat_inside": share, "boxes": len(box.among)}}


def summary(e: Explanation) -> str:
    """The share of the heat inside the box, in words; nothing for other targets."""
    share = entry(e).get("box", {}).get("heat_inside")
    return "" if share is None else f", {100 * share:.0f} % of the heat inside the box"


class BoxSheet:
    """A row for each box: where it is, its map by every method, and that at twice the box."""

    def __init__(self, name: str, pixels: NDArray[np.uint8], side: int) -> None:
        self.name, self.side = name, side
        self._pixels = pixels
        self._heads: dict[str, list[NDArray[np.uint8]]] = {}
        self._cells: dict[str, dict[str, list[NDArray[np.uint8]]]] = {}
        self._methods: dict[str, None] = {}
        self._layers: dict[str, None] = {}

    def add(
        self, e: Explanation, overlay: NDArray[np.uint8], range: tuple[float, float] | None, colormap: str | None
    ) -> None:
        """overlay: the map on the image, without boxes."""
        box = of(e)
        assert box is not None
        assert box.found is not None
        assert box.among is not None
        row = str(box)
        place, boxes = box.among_all - 1, list(box.among)
        if row not in self._heads:
            where = figure.picture(drawn(self._pixels, boxes, place, labels=False), self.side)
            words = [figure.paragraph(one_line(box.title), figure.SMALL, self.side, bold=True)]
            edges = ", ".join(f"{edge:.0f}" for edge in box.found.box)
            words.append(figure.text(f"y0, x0, y1, x1: {edges}", figure.SMALL, figure.MUTED))
            self._heads[row] = [figure.stack([*words, figure.framed(where)], gap=5)]
        share = inside(e, box.found.box)
        told = "no heat" if share is None else f"{100 * share:.0f} % of the heat inside"
        near = drawn(overlay, boxes, place, labels=False)
        factor = near.shape[0] / overlay.shape[0]
        near = crop(near, [edge * factor for edge in box.found.box])
        scale = figure.Scale(colormap or e.colormap, *(range or e.range))
        score = figure.text(f"{e.score_text}; {told}", figure.SMALL, figure.MUTED, width=2 * self.side)
        whole = figure.framed(figure.picture(drawn(overlay, boxes, place, labels=False), self.side))
        left = figure.stack([whole, figure.colour_bar(scale, self.side)], gap=5)
        pair = figure.cells([left, figure.framed(figure.picture(near, self.side))], self.side + 2, gap=8)
        block = figure.stack([score, pair], gap=5)
        self._cells.setdefault(row, {})[e.method] = [block]
        self._methods[e.method] = None
        if e.layer:
            self._layers[e.layer] = None

    @property
    def picture(self) -> NDArray[np.uint8]:
        lines = ["A row for each box: where it is, its map on the image, and at twice the box."]
        lines += [f"Class activation maps at {', '.join(self._layers)}."] if self._layers else []
        rows: list[NDArray[np.uint8]] = []
        for row, head in self._heads.items():
            blocks = [
                figure.stack([figure.text(method, figure.SMALL, bold=True), *self._cells[row][method]], gap=3)
                for method in self._methods
                if method in self._cells[row]
            ]
            if rows:
                rows.append(figure.blank(1, rows[0].shape[1], figure.RULE))
            rows.append(figure.side_by_side([*head, *blocks]))
        return figure.page(f"Boxes of {self.name}", lines, [figure.stack(rows)])
