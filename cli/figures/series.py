"""Pictures of series: a line for each feature with its heat behind it, sums over features and over times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...kernels import colormap
from ...kernels.upsample import upsample_along
from .charts import put, ticks
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
    framed,
    number,
    page,
    side_by_side,
    stack,
    text,
)

# Features that have a line; those of the greatest sums of magnitudes where there are more.
_MOST, _WIDTH, _LINE, _SUMS, _NAMES = 16, 820, 64, 150, 190


def series_figure(
    title: str,
    lines: Sequence[str],
    heat: NDArray[np.floating],
    values: NDArray[np.floating],
    names: Sequence[str],
    times: Sequence[str],
    unit: str = "",
    ahead: int | None = None,
) -> Block:
    """The figure of one series.

    heat: (times, features), or (times,) where all features have the same. values: (times, features). times: what stands
    below them. ahead: of a forecast, how many steps behind the last time it lies: times are said as lags to it.
    """
    shared = heat.ndim == 1
    whole = np.repeat(heat[:, None], values.shape[1], axis=1) if shared else heat
    most = max(float(np.abs(np.nan_to_num(whole)).max()), 1e-30)
    signed = bool((np.nan_to_num(whole) < 0).any())
    scale = Scale(colormap.DIVERGING if signed else colormap.SEQUENTIAL, -most if signed else 0.0, most)
    order = np.argsort(-np.abs(np.nan_to_num(whole)).sum(axis=0), kind="stable")
    shown = sorted(order[:_MOST].tolist())
    totals = np.nan_to_num(whole).sum(axis=0)
    widest = float(np.abs(totals).max()) or 1.0
    rows = [
        _row(whole[:, i], values[:, i], names[i], scale, None if shared else (float(totals[i]), widest)) for i in shown
    ]
    if not shared:
        head = blank(text("sum", SMALL).shape[0], _NAMES + _WIDTH + 2)
        rows.insert(0, side_by_side([head, text("sum over time", SMALL, MUTED)], gap=12))
    over = whole[:, 0] if shared else np.nan_to_num(whole).sum(axis=1)
    rows += [_below(over, "at each time" if shared else "sum over features"), _axis(times, unit, ahead)]
    if len(shown) < len(names):
        note = f"the {len(shown)} of {len(names)} features of the greatest magnitudes are shown"
        rows.append(text(note, SMALL, MUTED))
    return page(title, lines, [stack(rows, gap=6), colour_bar(scale)])


def along_time(values: NDArray[np.floating], axis: int | None, times: int) -> NDArray[np.float64]:
    """Values of an explanation as (times, features), or (times,) of maps along time alone, coarser ones enlarged.

    axis: of `values` that runs along time.
    """
    if values.ndim == 1 or axis is None:
        return np.asarray(upsample_along(np.asarray(values.reshape(-1), np.float32), (times,)), np.float64)
    return np.asarray(np.moveaxis(values, axis, 0), np.float64)


def _row(
    heat: NDArray[np.floating],
    values: NDArray[np.floating],
    name: str,
    scale: Scale,
    total: tuple[float, float] | None,
) -> Block:
    """Name and range, the line on its heat, and the feature's sum as a bar."""
    low, high = float(values.min()), float(values.max())
    about = [text(name, SMALL, bold=True, width=_NAMES - 14)]
    about.append(text(f"{number(low)} to {number(high)}", SMALL, MUTED, width=_NAMES - 14))
    label = blank(_LINE + 2, _NAMES)
    put(label, stack(about, gap=4), 12, 0)
    parts = [label, framed(_curve(heat, values, scale))]
    if total is not None:
        parts.append(_total(*total))
    return (
        side_by_side(parts, gap=0)
        if total is None
        else side_by_side([side_by_side(parts[:2], gap=0), parts[2]], gap=12)
    )


def _curve(heat: NDArray[np.floating], values: NDArray[np.floating], scale: Scale) -> Block:
    pale = 255 - (255 - colour(_columns(heat)[None], scale).astype(np.float32)) * 0.75
    canvas = np.repeat(np.asarray(pale, np.uint8), _LINE, axis=0)
    low, span = float(values.min()), float(np.ptp(values)) or 1.0
    at = np.clip((np.arange(_WIDTH + 1) / _WIDTH) * len(values) - 0.5, 0, len(values) - 1)
    level = _LINE - 7 - (np.interp(at, np.arange(len(values)), values) - low) / span * (_LINE - 14)
    if len(values) > _WIDTH:
        edges = np.linspace(0, len(values), _WIDTH + 1).astype(int)
        rows = _LINE - 7 - (values - low) / span * (_LINE - 14)
        tops, ends = np.minimum.reduceat(rows, edges[:-1]), np.maximum.reduceat(rows, edges[:-1])
    else:
        tops, ends = np.minimum(level[:-1], level[1:]), np.maximum(level[:-1], level[1:])
    for column, (first, last) in enumerate(zip(tops, ends, strict=True)):
        canvas[max(0, int(first)) : min(_LINE, int(last) + 2), column] = INK
    return canvas


def _columns(heat: NDArray[np.floating]) -> NDArray[np.float64]:
    """One value for each column of the picture: where several fall on one, that of greatest magnitude."""
    flat = np.nan_to_num(np.asarray(heat, np.float64))
    if len(flat) <= _WIDTH:
        return np.asarray(flat[np.arange(_WIDTH) * len(flat) // _WIDTH])
    edges = np.linspace(0, len(flat), _WIDTH + 1).astype(int)
    groups = [flat[a:b] for a, b in pairwise(edges)]
    return np.array([group[np.argmax(np.abs(group))] for group in groups])


def _total(value: float, widest: float) -> Block:
    """The sum of a feature as a bar from the left, its number behind it."""
    canvas = blank(_LINE + 2, _SUMS + 70)
    length = max(1, round(abs(value) / widest * (_SUMS - 10)))
    middle = (_LINE + 2) // 2
    canvas[middle - 9 : middle + 9, :length] = ACCENT if value >= 0 else SECOND
    canvas[6:-6, 0] = MUTED
    label = text(number(value), SMALL)
    put(canvas, label, middle - label.shape[0] // 2, length + 6)
    return canvas


def _below(sums: NDArray[np.floating], words: str) -> Block:
    """The sum at each time as bars around 0, below the lines."""
    columns = _columns(sums)
    low, high = min(0.0, float(columns.min())), max(0.0, float(columns.max()))
    span = (high - low) or 1.0
    canvas = blank(_LINE, _WIDTH)
    zero = round(high / span * (_LINE - 1))
    for column, value in enumerate(columns):
        end = round((high - value) / span * (_LINE - 1))
        canvas[min(zero, end) : max(zero, end) + 1, column] = ACCENT if value >= 0 else SECOND
    canvas[zero] = MUTED
    label = blank(_LINE + 2, _NAMES)
    put(label, text(words, SMALL, MUTED, width=_NAMES - 14), (_LINE - 14) // 2, 0)
    return side_by_side([label, framed(canvas)], gap=0)


def _axis(times: Sequence[str], unit: str, ahead: int | None) -> Block:
    """Some of the times below the lines; of a forecast how far they lie before it."""
    canvas = blank(44, _NAMES + _WIDTH + 60)
    count = len(times)
    for value in ticks(0, count - 1, 8):
        place = round(value)
        column = _NAMES + 1 + int((place + 0.5) / count * _WIDTH)
        canvas[:5, column] = INK
        words = times[place] if ahead is None else f"-{count - 1 - place + ahead}"
        label = text(words, SMALL, MUTED, width=110)
        put(canvas, label, 7, column - label.shape[1] // 2)
    said = (
        f"steps before the forecast, {ahead} behind the last time" if ahead is not None else unit and f"time in {unit}"
    )
    if said:
        put(canvas, text(said, SMALL, MUTED), 26, _NAMES + 1)
    canvas[:1, _NAMES + 1 : _NAMES + 1 + _WIDTH] = RULE
    return canvas
