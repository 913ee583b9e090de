"""Pictures of tables: what columns add to the score of one row, and of many rows together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...kernels import colormap
from ..files.images import draw_line
from .charts import bars, put, ticks
from .figure import (
    ACCENT,
    INK,
    MUTED,
    RULE,
    SECOND,
    SMALL,
    Block,
    Scale,
    blank,
    colour,
    colour_bar,
    number,
    panel,
    stack,
    text,
)

# Columns that have a bar or a line of their own; the others are one.
_MOST, _ROW, _WIDTH, _LABELS = 14, 30, 620, 280
_DOT = 5


def waterfall(names: Sequence[str], values: NDArray[np.floating], base: float, score: float) -> Block:
    """From the mean score of the background, below, to that of the row, above: a bar for each column, largest first."""
    shown, others = _largest(np.abs(values))
    labels = [names[i] for i in shown]
    steps = [float(values[i]) for i in shown]
    if len(others):
        labels.append(f"{len(others)} other columns")
        steps.append(float(values[others].sum()))
    # The steps are drawn from below: the least first.
    labels, steps = labels[::-1], steps[::-1]
    ends = base + np.concatenate([[0.0], np.cumsum(steps)])
    low, high = float(min(ends.min(), score)), float(max(ends.max(), score))
    margin = (high - low or 1.0) * 0.14
    low, high = low - margin, high + margin

    left = _room(labels)

    def at(value: float) -> int:
        return left + round((value - low) / (high - low) * (_WIDTH - 1))

    height = _ROW * len(steps) + 96
    canvas = blank(height, left + _WIDTH + 12)
    top, bottom = 40, 40 + _ROW * len(steps)
    for value in ticks(low, high, 6):
        canvas[top:bottom, at(value)] = RULE
        canvas[bottom : bottom + 5, at(value)] = INK
        label = text(f"{value:g}", SMALL, MUTED)
        put(canvas, label, bottom + 8, at(value) - label.shape[1] // 2)
    for place, (name, step) in enumerate(zip(labels, steps, strict=True)):
        y = bottom - _ROW * (place + 1)
        x0, x1 = at(ends[place]), at(ends[place + 1])
        first, last = min(x0, x1), max(x0, x1, min(x0, x1) + 1)
        canvas[y + 5 : y + _ROW - 5, first : last + 1] = ACCENT if step >= 0 else SECOND
        canvas[y - 5 if place + 1 < len(steps) else y + 5 : y + _ROW - 5, x1] = MUTED
        label = text(name, SMALL, width=_LABELS - 16)
        put(canvas, label, y + (_ROW - label.shape[0]) // 2, left - 14 - label.shape[1])
        note = text(f"{'+' if step >= 0 else ''}{number(step)}", SMALL)
        fits = last + 6 + note.shape[1] < canvas.shape[1]
        put(canvas, note, y + (_ROW - note.shape[0]) // 2, last + 6 if fits else first - 6 - note.shape[1])
    for value, y, words in ((base, bottom + 30, "mean of the background"), (score, 8, "score of the row")):
        label = text(f"{words} {number(value)}", SMALL, bold=True)
        put(canvas, label, y, min(max(left, at(value) - label.shape[1] // 2), canvas.shape[1] - label.shape[1]))
    return canvas


def overview(names: Sequence[str], values: NDArray[np.floating], cells: NDArray[np.generic]) -> list[Block]:
    """Of many rows: the mean magnitude of each column as a bar, and a dot for each row, coloured by the cell.

    values (rows, columns); cells (rows, columns), as the model takes them.
    """
    mean = np.abs(values).mean(axis=0)
    shown, left = _largest(mean)
    heights = [float(mean[i]) for i in shown]
    labels = [names[i] for i in shown]
    if len(left):
        labels, heights = [*labels, f"{len(left)} other columns"], [*heights, float(mean[left].sum())]
    title = "Mean magnitude of the values"
    first = panel(
        bars(labels, heights, width=_LABELS + _WIDTH, label_width=_LABELS - 20), title, width=_LABELS + _WIDTH
    )
    dots = beeswarm([names[i] for i in shown], values[:, shown], [_share(cells[:, i]) for i in shown])
    low_high = Scale(colormap.SEQUENTIAL, 0.0, 1.0, "the cell: lowest to highest of the column; texts are gray")
    return [first, panel(stack([dots, colour_bar(low_high)]), "Every row a dot", width=_LABELS + _WIDTH)]


def beeswarm(
    names: Sequence[str], values: NDArray[np.floating], shades: Sequence[NDArray[np.floating] | None]
) -> Block:
    """A line for each column with a dot at the value of each row; shades (rows,), 0 to 1, colour the dots."""
    pitch = 40
    low, high = float(min(values.min(), 0.0)), float(max(values.max(), 0.0))
    margin = (high - low or 1.0) * 0.04
    low, high = low - margin, high + margin

    left = _room(names)

    def at(value: float) -> int:
        return left + round((value - low) / (high - low) * (_WIDTH - 1))

    bottom = pitch * len(names)
    canvas = blank(bottom + 32, left + _WIDTH + 12)
    for value in ticks(low, high, 7):
        canvas[:bottom, at(value)] = RULE
        label = text(f"{value:g}", SMALL, MUTED)
        put(canvas, label, bottom + 8, at(value) - label.shape[1] // 2)
    canvas[:bottom, at(0.0)] = MUTED
    for line, name in enumerate(names):
        y = line * pitch + pitch // 2
        label = text(name, SMALL, width=_LABELS - 16)
        put(canvas, label, y - label.shape[0] // 2, left - 14 - label.shape[1])
        own = shades[line]
        inks = None if own is None else colour(own, Scale(colormap.SEQUENTIAL, 0.0, 1.0))
        for row, (x, offset) in enumerate(_apart([at(float(v)) for v in values[:, line]], pitch // 2 - 4)):
            ink = (130, 138, 148) if inks is None else tuple(int(c) for c in inks[row])
            draw_line(canvas, (x, y + offset), (x, y + offset), _DOT, ink)  # type: ignore[arg-type]
    return canvas


def _room(labels: Sequence[str]) -> int:
    """Pixels before the lines, for the names."""
    return min(_LABELS, 16 + max(int(text(label, SMALL).shape[1]) for label in labels))


def _apart(places: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Dots at x, moved up and down in turn where others are already there."""
    seen: dict[int, int] = {}
    found = []
    for x in places:
        column = x // _DOT
        count = seen.get(column, 0)
        seen[column] = count + 1
        step = (count + 1) // 2 * (_DOT - 2)
        found.append((x, step % (most + 1) * (1 if count % 2 else -1)))
    return found


def _largest(sizes: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the largest, and of the others where these are more than one."""
    order = np.argsort(-np.nan_to_num(sizes), kind="stable")
    return (order, order[:0]) if len(order) <= _MOST else (order[: _MOST - 1], order[_MOST - 1 :])


def _share(cells: NDArray[np.generic]) -> NDArray[np.float64] | None:
    """Cells of numbers as their rank among the others, 0 to 1; None for texts."""
    try:
        numbers = cells.astype(np.float64)
    except (TypeError, ValueError):
        return None
    known = np.isfinite(numbers)
    if not known.any():
        return None
    distinct, place = np.unique(numbers[known], return_inverse=True)
    found = np.full(len(numbers), np.nan)
    found[known] = place / max(1, len(distinct) - 1)
    return found
