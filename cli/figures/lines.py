"""Curves of several methods in one picture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..files.images import draw_line
from .charts import put, ticks
from .figure import INK, MUTED, RULE, SMALL, Block, Colour, blank, number, page, side_by_side, stack, text

# Colours that people with colour blindness tell apart (M. Okabe and K. Ito, 2002), for so many lines; then they repeat.
_INKS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (28, 33, 40),
    (150, 150, 150),
)
_LEFT, _BELOW = 64, 30
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def lines(curves: Mapping[str, Points], across: str, *, width: int = 560, height: int = 300) -> Block:
    """Lines y over x by name, with a legend; `across` says what x is."""
    x_ends = _ends([x for x, _ in curves.values()])
    y_ends = _ends([y for _, y in curves.values()])
    canvas = blank(height + _BELOW + 24, _LEFT + width + 12)
    for value in ticks(*y_ends, 6):
        row = _place(value, y_ends, height, down=True)
        canvas[row, _LEFT : _LEFT + width] = RULE
        label = text(number(value), SMALL, MUTED)
        put(canvas, label, max(0, row - label.shape[0] // 2), _LEFT - 8 - label.shape[1])
    for value in ticks(*x_ends, 6):
        column = _LEFT + _place(value, x_ends, width)
        canvas[height : height + 5, column] = INK
        label = text(number(value), SMALL, MUTED)
        put(canvas, label, height + 8, min(column - label.shape[1] // 2, canvas.shape[1] - label.shape[1]))
    label = text(across, SMALL, MUTED)
    put(canvas, label, height + _BELOW, _LEFT + (width - label.shape[1]) // 2)
    for count, (x, y) in enumerate(curves.values()):
        places = [
            (_LEFT + _place(a, x_ends, width), _place(b, y_ends, height, down=True)) for a, b in zip(x, y, strict=True)
        ]
        for start, end in itertools.pairwise(places):
            draw_line(canvas, start, end, 2, _INKS[count % len(_INKS)])
    return side_by_side([canvas, _legend(list(curves))], gap=16)


def _legend(names: Sequence[str]) -> Block:
    rows = []
    for count, name in enumerate(names):
        stroke = blank(16, 28)
        stroke[6:10] = _INKS[count % len(_INKS)]
        rows.append(side_by_side([stroke, text(name, SMALL)], gap=8, align="middle"))
    return stack(rows, gap=8)


def _ends(parts: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    low = min(low, 0.0)
    return low, high if high > low else low + 1


def _place(value: float, ends: tuple[float, float], length: int, down: bool = False) -> int:
    share = (value - ends[0]) / (ends[1] - ends[0])
    return round((1 - share if down else share) * (length - 1))


def curves_page(title: str, note: str, curves: Mapping[str, Points], across: str) -> NDArray[np.uint8]:
    """A figure of its own."""
    return page(title, [note], [lines(curves, across)])
