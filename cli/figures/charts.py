"""Charts as blocks of a figure: bars, histograms, heat tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figure import (
    ACCENT,
    GAP,
    INK,
    MUTED,
    PAPER,
    RULE,
    SECOND,
    SHADE,
    SMALL,
    Block,
    Colour,
    Scale,
    blank,
    colour,
    framed,
    number,
    side_by_side,
    stack,
    text,
)


def put(canvas: Block, block: Block, y: float, x: float) -> None:
    """Draw a block at its top left corner, what lies outside cut off."""
    top, left = round(y), round(x)
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(canvas.shape[0], top + block.shape[0]), min(canvas.shape[1], left + block.shape[1])
    if y0 < y1 and x0 < x1:
        canvas[y0:y1, x0:x1] = block[y0 - top : y1 - top, x0 - left : x1 - left]


def ticks(lo: float, hi: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within lo..hi, at most `most` of them."""
    if not hi > lo:
        return [lo]
    rough = (hi - lo) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= rough * 0.9999)
    first = math.ceil(lo / step - 1e-9)
    last = math.floor(hi / step + 1e-9)
    return [round(i * step, 12) if abs(step) > 1e-9 else i * step for i in range(first, last + 1)]


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    notes: Sequence[str] | None = None,
    *,
    width: int = 760,
    label_width: int = 260,
    hi: float | None = None,
) -> Block:
    """Horizontal bars from zero, negative ones to the left; a label before, the number (or `notes`) behind each."""
    notes = notes if notes is not None else [number(v) for v in values]
    finite = [v for v in values if math.isfinite(v)]
    lo, top = min([0.0, *finite]), max([0.0, *finite] if hi is None else [hi])
    span = (top - lo) or 1.0
    names = [text(label, SMALL, width=label_width) for label in labels]
    left = max((n.shape[1] for n in names), default=0) + GAP
    shown = [text(note, SMALL) for note in notes]
    right = max((n.shape[1] for n in shown), default=0) + 8
    room = max(120, width - left - right - (right if lo < 0 else 0))
    start = left + (right if lo < 0 else 0)
    pitch = 24
    canvas = blank(pitch * len(labels), start + room + right)
    zero = start + round(-lo / span * room)
    for i, value in enumerate(values):
        y = i * pitch
        put(canvas, names[i], y + (pitch - names[i].shape[0]) // 2, left - GAP - names[i].shape[1])
        at = start + round((min(max(value, lo), top) - lo) / span * room) if math.isfinite(value) else zero
        x0, x1 = min(zero, at), max(zero, at)
        canvas[y + 4 : y + pitch - 4, x0 : max(x1, x0 + 1)] = ACCENT if value >= 0 else SECOND
        where = x1 + 6 if value >= 0 or lo == 0 else x0 - 6 - shown[i].shape[1]
        put(canvas, shown[i], y + (pitch - shown[i].shape[0]) // 2, where)
    canvas[:, zero - 1 : zero] = np.minimum(canvas[:, zero - 1 : zero], np.array(MUTED, np.uint8))
    return canvas


def histogram(
    values: NDArray[Any],
    title: str,
    ends: tuple[float, float],
    *,
    width: int = 560,
    height: int = 190,
    bins: int = 70,
    fill: Colour = ACCENT,
) -> Block:
    """How the values are spread between `ends`, the lower one first; upwards the share of all values in one bin.

    Exact zeros, which would dwarf all else after a ReLU, are counted in the title and not drawn.
    """
    lo, hi = ends
    flat = np.asarray(values, np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    zeros = int((finite == 0).sum())
    counts, _ = np.histogram(finite[finite != 0], bins=bins, range=ends)
    share = counts / max(1, flat.size)
    most = float(share.max()) or 1.0
    left, bottom = 62, 24
    canvas = blank(height + bottom, left + width + 10)
    for value in ticks(0, most * 100, 4):
        y = height - 1 - round(value / 100 / most * (height - 8))
        canvas[y, left:-10] = RULE
        label = text(f"{value:g} %", SMALL, MUTED)
        put(canvas, label, y - label.shape[0] // 2, left - 8 - label.shape[1])
    for i, part in enumerate(share):
        x0 = left + round(i / bins * width)
        x1 = left + round((i + 1) / bins * width) - 1
        y = height - 1 - round(part / most * (height - 8))
        if part > 0:
            canvas[min(y, height - 2) : height - 1, x0 : max(x1, x0 + 1)] = fill
    canvas[height - 1, left:-10] = INK
    _axis(canvas, lo, hi, left, width, height)
    note = (
        f"{number(zeros / max(1, flat.size) * 100)} % are exactly 0 (not drawn)" if zeros else "no value is exactly 0"
    )
    noted = text(note, SMALL, MUTED)
    head = side_by_side([text(title, SMALL, bold=True, width=canvas.shape[1] - noted.shape[1] - GAP), noted], gap=GAP)
    return stack([head, canvas], gap=6)


def curve(before: NDArray[Any], after: NDArray[Any], title: str, *, width: int = 330, height: int = 330) -> Block:
    """A function of one number as the values themselves draw it: across what goes in, up what comes out.

    Between neighbouring values it is a line; where one value becomes several (a slope per channel), a bar.
    """
    x, y = (np.asarray(values, np.float64).ravel() for values in (before, after))
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not x.size:
        return blank(0, 0)
    lo, hi = min(0.0, float(x.min())), max(0.0, float(x.max()))
    bottom, top = min(0.0, float(y.min())), max(0.0, float(y.max()))
    hi, top = hi if hi > lo else lo + 1, top if top > bottom else bottom + 1
    left, below = 56, 24
    canvas = blank(height + below, left + width + 12)
    zero_x, zero_y = (
        left + round(-lo / (hi - lo) * (width - 1)),
        height - 1 - round(-bottom / (top - bottom) * (height - 1)),
    )
    for value in ticks(bottom, top, 5):
        row = height - 1 - round((value - bottom) / (top - bottom) * (height - 1))
        canvas[row, left : left + width] = RULE
        label = text(number(value), SMALL, MUTED)
        put(canvas, label, max(0, row - label.shape[0] // 2), left - 8 - label.shape[1])
    canvas[zero_y, left : left + width], canvas[:height, zero_x] = MUTED, MUTED
    column = np.minimum((x - lo) / (hi - lo) * (width - 1) + 0.5, width - 1).astype(int)
    least, most = np.full(width, np.inf), np.full(width, -np.inf)
    np.minimum.at(least, column, y)
    np.maximum.at(most, column, y)
    known = np.flatnonzero(np.isfinite(least))
    least, most = (np.interp(np.arange(width), known, values[known]) for values in (least, most))
    rows = [
        np.rint(height - 1 - (values - bottom) / (top - bottom) * (height - 1)).astype(int) for values in (most, least)
    ]
    for i in range(known[0], known[-1] + 1):
        before_it = max(i - 1, known[0])
        first, last = min(rows[0][i], rows[1][before_it]), max(rows[1][i], rows[0][before_it])
        canvas[max(0, first - 1) : min(height, last + 2), left + i] = ACCENT
    _axis(canvas, lo, hi, left, width, height)
    return stack([text(title, SMALL, bold=True, width=canvas.shape[1]), canvas], gap=6)


def _axis(canvas: Block, lo: float, hi: float, left: int, width: int, y: int) -> None:
    for value in ticks(lo, hi):
        x = left + round((value - lo) / (hi - lo) * (width - 1)) if hi > lo else left
        canvas[y : y + 4, x] = INK
        label = text(number(value), SMALL, MUTED)
        put(canvas, label, y + 7, min(max(left - 20, x - label.shape[1] // 2), canvas.shape[1] - label.shape[1]))


def heat(
    matrix: NDArray[Any],
    scale: Scale,
    rows: str,
    columns: str,
    *,
    width: int = 960,
    height: int = 520,
) -> Block:
    """A matrix (r, c) as coloured cells with numbered axes called `rows` and `columns`; large ones are averaged."""
    from ...kernels.resize import resize

    r, c = matrix.shape
    down, across = _cell(r, height), _cell(c, width)
    cells = np.asarray(matrix, np.float32)
    if down == 0 or across == 0:
        cells = resize(cells, (r if down else height, c if across else width), "bilinear")
    shown = colour(np.repeat(np.repeat(cells, max(1, down), axis=0), max(1, across), axis=1), scale)
    body = framed(shown)
    left, top = 64, 24
    canvas = blank(body.shape[0] + top + 4, body.shape[1] + left + 30)
    canvas[top : top + body.shape[0], left : left + body.shape[1]] = body
    for index in _indices(r, body.shape[0], 30):
        label = text(str(index), SMALL, MUTED)
        put(canvas, label, top + (index + 0.5) / r * body.shape[0] - label.shape[0] / 2, left - 8 - label.shape[1])
    for index in _indices(c, body.shape[1], 60):
        label = text(str(index), SMALL, MUTED)
        put(canvas, label, top - 6 - label.shape[0], left + (index + 0.5) / c * body.shape[1] - label.shape[1] / 2)
    averaged = [f"{n} {what}" for n, what, cell in ((r, rows, down), (c, columns, across)) if cell == 0]
    note = f"; {' and '.join(averaged)} averaged to pixels" if averaged else ""
    return stack([text(f"rows: {rows}, columns: {columns}{note}", SMALL, MUTED), canvas], gap=6)


def _cell(count: int, room: int) -> int:
    """Pixels per cell; 0 where there are more cells than pixels."""
    return min(24, room // count)


def _indices(count: int, length: int, apart: int) -> list[int]:
    """Numbers to write along an axis, at least `apart` pixels from one another."""
    rough = max(1.0, count * apart / max(1, length))
    power = 10 ** math.floor(math.log10(rough))
    step = next(int(power * f) for f in (1, 2, 5, 10) if power * f >= rough)
    return list(range(0, count, max(1, step)))


def columns(values: NDArray[Any], scale: Scale, side: int) -> Block:
    """A vector as upright bars within side x side; where there are more than pixels, the greatest of each group."""
    flat = np.nan_to_num(np.asarray(values, np.float64).ravel())
    if flat.size > side:
        edges = np.linspace(0, flat.size, side + 1).astype(int)  # by place: array_split's first groups are larger
        groups = [flat[start:stop] for start, stop in pairwise(edges)]
        flat = np.array([g[np.argmax(np.abs(g))] for g in groups])
    lo, hi = min(0.0, scale.lo), max(0.0, scale.hi)
    canvas = blank(side, side, SHADE)
    zero = side - 1 - round(-lo / ((hi - lo) or 1.0) * (side - 1))
    for i, value in enumerate(flat):
        x0, x1 = i * side // flat.size, (i + 1) * side // flat.size
        y = side - 1 - round((min(max(value, lo), hi) - lo) / ((hi - lo) or 1.0) * (side - 1))
        canvas[min(y, zero) : max(y, zero) + 1, x0 : max(x0 + 1, x1 - (x1 - x0 > 3))] = ACCENT if value >= 0 else SECOND
    canvas[zero] = MUTED
    return canvas


__all__ = ["PAPER", "bars", "columns", "curve", "heat", "histogram", "put", "ticks"]
