"""Figures made of blocks: uint8 (H, W, 3) RGB pictures on white paper, put next to and under one another.

    page(title, lines, blocks)      the whole figure
    panel(picture, title, note)     one picture with what it is above and its numbers below
    grid(panels)                    panels in rows
    colour_bar(scale)               what the colours mean: both ends, the unit
    see also charts.py              bars, histograms, heat tables

Nothing depends on the screen, the fonts of the machine or the time: the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...engine.attribution.colours import RGB, around_gray
from ..files.images import draw_text, text_size
from ..terminal.echo import one_line
from ..terminal.table import ELLIPSIS

Block = NDArray[np.uint8]
Colour = tuple[int, int, int]
Align = Literal["start", "middle", "end"]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 33, 40)
MUTED: Colour = (95, 103, 115)
RULE: Colour = (208, 213, 220)
SHADE: Colour = (243, 245, 248)
ACCENT: Colour = (38, 100, 160)
SECOND: Colour = (196, 98, 45)

# Heights of text in pixels.
TITLE, BODY, SMALL = 24, 16, 14
GAP, MARGIN = 14, 28
_SHORT = 0.4  # of a panel's side: the least height of a wide picture in it, if it is not too long for that
WIDTH = 1160  # of a full figure, between its margins


@dataclass(frozen=True)
class Scale:
    """How values become colours: a table of `kernels.colormap`, the values at its ends, and what they are."""

    table: str
    lo: float
    hi: float
    unit: str = ""
    beyond: float = 0.0  # share of the values that lie outside and take the colours of the ends

    @property
    def signed(self) -> bool:
        return self.lo == -self.hi

    def to_mapping(self) -> dict[str, Any]:
        """For manifests."""
        return {"colours": self.table, "lo": self.lo, "hi": self.hi, "unit": self.unit, "beyond": self.beyond}


def scale_of(values: ArrayLike, unit: str = "", *, outliers: bool = False) -> Scale:
    """The scale that suits the values: sequential from 0 where none is negative, else diverging around 0.

    With `outliers`, the half percent of the largest magnitudes does not stretch it; the colour bar says so.
    """
    from ...kernels import colormap, normalize

    upper = 99.5 if outliers else 100.0
    array = np.asarray(values)
    _, most = normalize.percentile(array, 0, upper, signed=True)
    finite = array[np.isfinite(array)]
    beyond = float((np.abs(finite) > most).mean()) if finite.size else 0.0
    if finite.size and finite.min() < 0:
        return Scale(colormap.DIVERGING, -most, most, unit, beyond)
    return Scale(colormap.SEQUENTIAL, 0.0, most, unit, beyond)


def colour(values: ArrayLike, scale: Scale) -> Block:
    """Values as colours, uint8 (..., 3); NaN is gray."""
    from ...kernels import colormap

    return colormap.apply(values, colormap.table(scale.table), scale.lo, scale.hi)


def fit(values: NDArray[Any], side: int) -> NDArray[np.float32]:
    """A map (h, w) as large as fits into side x side: cells stay cells, and are averaged where there are too many."""
    from ...kernels.resize import resize
    from ...kernels.upsample import upsample

    h, w = values.shape
    size = (max(1, round(h * side / max(h, w))), max(1, round(w * side / max(h, w))))
    if max(h, w) <= side:
        return upsample(values, size, "nearest")
    return np.asarray(resize(np.asarray(values, np.float32), size, "bilinear"), np.float32)


def picture(image: Block, side: int) -> Block:
    """An image as large as fits into side x side: smooth, but the pixels of a tiny one stay squares.

    A very wide or tall one becomes up to four times as long, so that something can be seen in it.
    """
    from ...kernels.resize import resize

    h, w = image.shape[:2]
    longest = min(4 * side, max(side, round(_SHORT * side * max(h, w) / min(h, w))))
    size = (max(1, round(h * longest / max(h, w))), max(1, round(w * longest / max(h, w))))
    return resize(image, size, "nearest" if 3 * max(h, w) <= side else "bilinear")


def blank(height: int, width: int, fill: Colour = PAPER) -> Block:
    return np.full((max(0, height), max(0, width), 3), fill, np.uint8)


def text(words: str, size: int = BODY, ink: Colour = INK, *, bold: bool = False, width: int | None = None) -> Block:
    """One line of text; cut in the middle to fit into `width` pixels."""
    words = one_line(words)
    if width is not None:
        words = shorten(words, size, width, bold=bold)
    across, high = text_size(words, size, bold=bold)
    block = blank(high, across)
    draw_text(block, words, (0, 0), size, ink, bold=bold)
    return block


def shorten(words: str, size: int, width: int, *, bold: bool = False) -> str:
    """`words`, cut in the middle where they are wider than `width` pixels."""
    if text_size(words, size, bold=bold)[0] <= width:
        return words
    low, high = 0, len(words) - 1
    while low < high:  # the most characters that fit
        kept = (low + high + 1) // 2
        if text_size(_cut(words, kept), size, bold=bold)[0] <= width:
            low = kept
        else:
            high = kept - 1
    return _cut(words, low)


def _cut(words: str, kept: int) -> str:
    tail = kept // 2
    return words[: kept - tail] + ELLIPSIS + (words[len(words) - tail :] if tail else "")


def paragraph(words: str, size: int, width: int, ink: Colour = INK, *, bold: bool = False) -> Block:
    """Text in as many lines as it needs; words longer than a line are broken, best behind a slash, dot or hyphen."""
    lines, line = [], ""
    for word in one_line(words).split(" "):
        longer = f"{line} {word}" if line else word
        if line and text_size(longer, size, bold=bold)[0] > width:
            lines.append(line)
            longer = word
        while text_size(longer, size, bold=bold)[0] > width and len(longer) > 1:
            kept = _that_fits(longer, size, width, bold)
            lines.append(longer[:kept])
            longer = longer[kept:]
        line = longer
    return stack([text(part, size, ink, bold=bold) for part in [*lines, line]], gap=size // 3)


def _that_fits(word: str, size: int, width: int, bold: bool) -> int:
    """How many characters of a word go into a line."""
    kept = 1
    while kept < len(word) and text_size(word[: kept + 1], size, bold=bold)[0] <= width:
        kept += 1
    breaks = [i + 1 for i in range(kept // 2, kept) if word[i] in "/.-_,:"]
    return breaks[-1] if breaks and kept < len(word) else kept


def stack(blocks: Sequence[Block], gap: int = GAP, align: Align = "start") -> Block:
    """Blocks under one another."""
    blocks = [b for b in blocks if b.size]
    width = max((b.shape[1] for b in blocks), default=0)
    rows: list[Block] = []
    for block in blocks:
        if rows and gap:
            rows.append(blank(gap, width))
        rows.append(_padded(block, width, 1, align))
    return np.concatenate(rows) if rows else blank(0, 0)


def side_by_side(blocks: Sequence[Block], gap: int = GAP, align: Align = "start") -> Block:
    """Blocks in one row."""
    blocks = [b for b in blocks if b.size]
    height = max((b.shape[0] for b in blocks), default=0)
    columns: list[Block] = []
    for block in blocks:
        if columns and gap:
            columns.append(blank(height, gap))
        columns.append(_padded(block, height, 0, align))
    return np.concatenate(columns, axis=1) if columns else blank(0, 0)


def _padded(block: Block, length: int, axis: int, align: Align) -> Block:
    rest = length - block.shape[axis]
    before = {"start": 0, "middle": rest // 2, "end": rest}[align]
    margins = [(0, 0), (0, 0), (0, 0)]
    margins[axis] = (before, rest - before)
    return np.pad(block, margins, constant_values=255)


def framed(block: Block, ink: Colour = RULE) -> Block:
    """A line of one pixel around a picture, so that white ones end somewhere."""
    out = blank(block.shape[0] + 2, block.shape[1] + 2, ink)
    out[1:-1, 1:-1] = block
    return out


def panel(content: Block, title: str = "", note: str = "", width: int | None = None, *, strong: bool = True) -> Block:
    """A picture with a title above and a note below, both cut to the panel's width."""
    width = max(width or 0, content.shape[1])
    parts = [text(title, SMALL, bold=strong, width=width)] if title else []
    parts.append(_padded(content, width, 1, "start"))
    if note:
        parts.append(text(note, SMALL, MUTED, width=width))
    return stack(parts, gap=5)


def captioned(content: Block, title: str, note: str, width: int) -> Block:
    """As `panel`, but title and note take as many lines as they need."""
    parts = [paragraph(title, SMALL, width, bold=True)] if title else []
    parts.append(_padded(content, max(width, content.shape[1]), 1, "start"))
    if note:
        parts.append(paragraph(note, SMALL, width, MUTED))
    return stack(parts, gap=5)


def cells(blocks: Sequence[Block], width: int, gap: int = GAP, align: Align = "start") -> Block:
    """Blocks in one row, each in a column of `width` pixels."""
    across = max(width, *(block.shape[1] for block in blocks))
    return side_by_side([_padded(block, across, 1, "start") for block in blocks if block.size], gap, align)


def grid(panels: Sequence[Block], columns: int | None = None, gap: int = GAP, width: int = WIDTH) -> Block:
    """Panels of about one size in rows, as many next to one another as fit into `width`."""
    if not panels:
        return blank(0, 0)
    across = max(p.shape[1] for p in panels)
    columns = columns or max(1, (width + gap) // (across + gap))
    columns = min(columns, len(panels))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    out = blank(sum(max(p.shape[0] for p in row) + gap for row in rows) - gap, columns * (across + gap) - gap)
    y = 0
    for row in rows:
        for i, block in enumerate(row):
            x = i * (across + gap)
            out[y : y + block.shape[0], x : x + block.shape[1]] = block
        y += max(p.shape[0] for p in row) + gap
    return out


def colour_bar(scale: Scale, width: int = 360) -> Block:
    """The colours from the lowest value to the highest: both ends, zero or the middle if there is room, the unit."""
    strip = framed(_strip(scale, width))
    middle = 0.0 if scale.lo < 0 < scale.hi else (scale.lo + scale.hi) / 2
    first, last, between = (text(number(value), SMALL) for value in (scale.lo, scale.hi, middle))
    across = max(strip.shape[1], first.shape[1] + GAP + last.shape[1])
    labels = blank(text("0", SMALL).shape[0], across)
    at = round((middle - scale.lo) / (scale.hi - scale.lo) * (strip.shape[1] - 1)) - between.shape[1] // 2
    free = at - GAP // 2 >= first.shape[1] and at + between.shape[1] + GAP // 2 <= across - last.shape[1]
    for label, left in ((first, 0), (last, across - last.shape[1]), *([(between, at)] if free else [])):
        labels[: label.shape[0], left : left + label.shape[1]] = label
    bar = stack([strip, labels], gap=4)
    notes = [scale.unit] if scale.unit else []
    if scale.beyond:
        notes.append(f"{number(100 * scale.beyond)} % of values clipped")
    return side_by_side([bar, text("; ".join(notes), SMALL, MUTED)], gap=GAP) if notes else bar


def _strip(scale: Scale, width: int) -> Block:
    """The colours of a scale from left to right; of three channels around gray, one band for each."""
    values = np.linspace(scale.lo, scale.hi, width, dtype=np.float64)
    if scale.table != RGB:
        return np.repeat(colour(values, scale)[None], 14, axis=0)
    planes = np.zeros((3, 15, width), np.float32)
    for channel in range(3):
        planes[channel, 5 * channel : 5 * channel + 5] = values
    return around_gray(planes, scale.hi)


def scale_stops(scale: Scale, count: int = 17) -> list[tuple[int, int, int]]:
    """Colours of a scale at even distances, for gradients of pages; of three channels around gray, those of gray."""
    if scale.table == RGB:
        return [(round(255 * i / (count - 1)),) * 3 for i in range(count)]
    shades = colour(np.linspace(scale.lo, scale.hi, count), scale)
    return [(int(r), int(g), int(b)) for r, g, b in shades]


def number(value: float) -> str:
    """A number in three significant digits, from 1000 to 99999 in all of those before the point."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 999.5 <= abs(value) < 99999.5:
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e3 else f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e")


def page(title: str, lines: Sequence[str], blocks: Sequence[Block]) -> Block:
    """A whole figure: the title, lines that say what is shown, a rule, then the blocks; margins around."""
    width = max([680, *(b.shape[1] for b in blocks)])
    head = [text(title, TITLE, bold=True, width=width)]
    head += [paragraph(line, BODY, width, MUTED) for line in lines if line]
    parts = [stack(head, gap=8), blank(1, width, RULE), *blocks]
    return np.pad(stack(parts, gap=20), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)
