"""Maps over what is no image: bars of a table, a line with heat behind it, rows of a series, slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.attribution.maps import reduced
from ...kernels import colormap
from ...kernels.upsample import upsample_along
from ..terminal.echo import one_line
from . import charts, figure
from .figure import Block, Scale

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

# Of up to so many numbers, each gets a bar with its name; of more, those of the greatest magnitude.
_EACH, _MOST = 64, 24
_WIDTH, _LINE = 960, 150
# Features of a series that are drawn as lines; more are a table of colours.
_LINES = 12
_SLICE, _MONTAGE = 320, 12


def figure_of(e: Explanation, x: NDArray[Any] | None, title: str) -> Block:
    """The figure of one map. x: what was explained, one sample; None where it is not numbers of the map's shape."""
    values = np.asarray(e.values, np.float32)
    scale = scale_of_map(e, values)
    where = f" at {e.layer}" if e.layer else ""
    lines = [f"{e.method}{where}: {one_line(e.label)}, {e.score_text}."]
    if e.warnings:
        lines += [f"Warning: {text}." for text in e.warnings[:3]]
    blocks = _blocks(e, values, x, scale)
    own = e.size is None and (e.split or _is_bars(e, values))  # bars say their numbers, texts have a scale of their own
    return figure.page(title, lines, [*blocks, *([] if own else [figure.colour_bar(scale)])])


def values_figure(values: NDArray[Any], title: str, lines: Sequence[str]) -> Block:
    """The figure of the values of a layer, one sample: bars, lines, a table of colours or slices."""
    found = np.asarray(values, np.float32)
    finite = found[np.isfinite(found)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    most = max(abs(low), abs(high), 1e-30)
    signed = low < 0
    scale = Scale(colormap.DIVERGING if signed else colormap.SEQUENTIAL, -most if signed else 0.0, most)
    flat = found.reshape([n for n in found.shape if n != 1] or [1])
    if flat.ndim == 1 and len(flat) <= _EACH:
        blocks = [_bars([f"unit {i}" for i in range(len(flat))], flat, None)]
    elif flat.ndim == 1:
        blocks = [*_series(flat[None], flat[None], scale), _strongest(flat, None)]
    elif flat.ndim == 2:
        blocks = [charts.heat(flat, scale, "axis 0", "axis 1")]
    elif flat.ndim == 3:
        blocks = _slices(flat, None, scale)
    else:
        blocks = [charts.heat(flat.reshape(flat.shape[0], -1), scale, "axis 0", "the other axes")]
    return figure.page(title, list(lines), [*blocks, figure.colour_bar(scale)])


def scale_of_map(e: Explanation, values: NDArray[np.float32]) -> Scale:
    """The colours of a map: up to its greatest magnitude."""
    finite = values[np.isfinite(values)]
    most = float(np.abs(finite).max()) if finite.size else 0.0
    if e.display == "positive":
        return Scale(colormap.SEQUENTIAL, 0.0, max(most, 1e-30))
    return Scale(colormap.DIVERGING, -max(most, 1e-30), max(most, 1e-30))


def _is_bars(e: Explanation, values: NDArray[np.float32]) -> bool:
    """Whether every number is drawn as a bar, and nothing in colours."""
    single = values.size <= _EACH and sum(n != 1 for n in values.shape) <= 1 and e.extent is None
    return len(e.inputs) > 1 or single


def _blocks(e: Explanation, values: NDArray[np.float32], x: NDArray[Any] | None, scale: Scale) -> list[Block]:
    if e.size is not None and e.map is not None:
        return _images(e)
    if e.split:
        return _each(e, values, x, scale)
    if len(e.inputs) > 1:
        return [_bars(list(e.inputs), values.ravel(), _texts(x))]
    if e.extent is not None and len(e.extent) == 3:
        return _slices(e.heatmap, _volume(x, e.extent), scale)
    if e.extent is not None and len(e.extent) == 1 and values.ndim == 1:
        heat = upsample_along(values, e.extent)
        return _series(heat[None], _rows_of(x, e.extent[0]), scale)
    flat = values.reshape([n for n in values.shape if n != 1] or [1])
    given = x.reshape(flat.shape) if x is not None and x.size == flat.size else None
    if flat.ndim == 1:
        if len(flat) <= _EACH:
            return [_bars([f"element {i}" for i in range(len(flat))], flat, _texts(given))]
        numbers = given[None].astype(np.float32) if given is not None and given.dtype.kind in "fiub" else None
        return [*_series(flat[None], numbers, scale), _strongest(flat, given)]
    if flat.ndim == 2:
        return _matrix(e, flat, given, scale)
    if flat.ndim == 3:
        return _slices(flat, None if given is None else given.astype(np.float32), scale)
    return [charts.heat(flat.reshape(flat.shape[0], -1), scale, "axis 0", "the other axes")]


def _images(e: Explanation) -> list[Block]:
    """The image, or the images of a set, and below each what lies on it."""
    names = list(e.inputs) if e.split else [""]
    rows = [] if e.image is None else [e.image]
    tiles = [
        figure.panel(figure.picture(part, _SLICE), one_line(name), width=_SLICE)
        for shown in (*rows, e.overlay())
        for name, part in zip(names, np.split(shown, len(names), axis=1), strict=True)
    ]
    return [figure.grid(tiles, len(tiles) if len(names) == 1 else len(names))]


def _each(e: Explanation, values: NDArray[np.float32], x: NDArray[Any] | None, scale: Scale) -> list[Block]:
    """Every token of a text, or of those of a set: bars on one scale, of many a strip for each text."""
    if values.ndim > 1:  # embeddings: what their dimensions say together
        values = values.reshape(len(values), -1).sum(axis=1)
        scale = scale_of_map(e, values)
    given = None if x is None or x.size != len(values) else x.reshape(values.shape)
    word = [f"{name}: token" if len(e.inputs) > 1 else "token" for name in e.inputs]
    names = [f"{text} {i}" for text, size in zip(word, e.split, strict=True) for i in range(size)]
    if len(values) <= _EACH:
        return [_bars(names, values, _texts(given))]
    texts = np.split(values, np.cumsum(e.split)[:-1])
    named = zip(e.inputs, texts, strict=True)
    strips = [figure.panel(figure.stack(_series(text[None], None, scale)), one_line(name)) for name, text in named]
    order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:_MOST]
    bars = _bars([names[i] for i in order], values[order], _texts(None if given is None else given[order]))
    return [*strips, figure.colour_bar(scale), bars]


def _texts(x: NDArray[Any] | None) -> list[str] | None:
    """What was given, to be written behind the names."""
    if x is None:
        return None
    return [
        v if isinstance(v, str) else figure.number(float(v)) if np.isreal(v) else str(v) for v in x.ravel().tolist()
    ]


def _bars(names: Sequence[str], values: NDArray[np.float32], given: Sequence[str] | None) -> Block:
    """Bars in the order of the features."""
    labels = [
        one_line(n) if given is None else f"{one_line(n)} = {one_line(g)}"
        for n, g in zip(names, given or names, strict=True)
    ]
    return charts.bars(labels, [float(v) for v in values])


def _strongest(values: NDArray[np.float32], given: NDArray[Any] | None) -> Block:
    order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:_MOST]
    texts = _texts(None if given is None else given[order])
    block = _bars([f"element {i}" for i in order], values[order], texts)
    return figure.panel(block, f"The {len(order)} of greatest magnitude", width=block.shape[1])


def _rows_of(x: NDArray[Any] | None, length: int) -> NDArray[np.float32] | None:
    """The channels (C, T) of a signal, given with channels first or last."""
    if x is None or x.dtype.kind not in "fiub":
        return None
    if x.shape[-1] != length and x.ndim == 2 and x.shape[0] == length:
        x = x.T
    return np.asarray(x, np.float32).reshape(-1, length) if x.shape[-1] == length else None


def _matrix(e: Explanation, values: NDArray[np.float32], x: NDArray[Any] | None, scale: Scale) -> list[Block]:
    """Times and features as lines where they are few, else as a table; times run along the longer axis."""
    along = 1 if values.shape[1] >= values.shape[0] else 0
    if e.extent is not None and len(e.extent) == 1:
        along = 1 - e.extent_channel
    rows = values if along == 1 else values.T
    given = None if x is None or x.dtype.kind not in "fiub" else (x if along == 1 else x.T).astype(np.float32)
    if len(rows) <= _LINES and rows.shape[1] > 8:
        blocks = _series(rows, given, scale, "row" if along == 1 else "column")
    else:
        names = ("rows", "columns")
        blocks = [charts.heat(values, scale, *names)]
    sums = rows.sum(axis=1)
    if 1 < len(sums) <= _EACH:
        bars = _bars([f"row {i}" if along == 1 else f"column {i}" for i in range(len(sums))], sums, None)
        blocks.append(figure.panel(bars, "Sum along the longer axis", width=bars.shape[1]))
    return blocks


def _series(heat: NDArray[np.float32], x: NDArray[np.float32] | None, scale: Scale, word: str = "row") -> list[Block]:
    """One line per row, its heat behind it; where there are more lines than rows of heat, all have the same."""
    count = len(x) if x is not None else len(heat)
    blocks = []
    for row in range(min(count, _LINES)):
        mine = heat[min(row, len(heat) - 1)]
        line = None if x is None else x[row]
        title = f"{word} {row}" if count > 1 else ""
        blocks.append(_line(mine, line, scale, title))
    if count > _LINES:
        blocks.append(figure.text(f"the first {_LINES} of {count} {word}s are shown", figure.SMALL, figure.MUTED))
    blocks.append(_axis(heat.shape[1]))
    return blocks


def _line(heat: NDArray[np.float32], x: NDArray[np.float32] | None, scale: Scale, title: str) -> Block:
    """(T,) heat as coloured columns behind the curve (T,)."""
    at = (np.arange(_WIDTH) + 0.5) / _WIDTH * len(heat)
    columns = _strongest_of(heat)
    canvas = np.repeat(_pale(figure.colour(columns[None], scale)), _LINE, axis=0)
    if x is not None:
        finite = np.nan_to_num(x.astype(np.float64))
        low, high = float(finite.min()), float(finite.max())
        span = (high - low) or 1.0
        rows = (_LINE - 13 - (finite - low) / span * (_LINE - 26)) + 6
        if len(finite) > _WIDTH:  # as many numbers as fall on a column: their ends
            edges = np.linspace(0, len(finite), _WIDTH + 1).astype(int)
            tops = np.minimum.reduceat(rows, edges[:-1])
            ends = np.maximum.reduceat(rows, edges[:-1])
        else:
            tops = ends = np.interp(at - 0.5, np.arange(len(finite)), rows)
        for column in range(_WIDTH):
            before = max(0, column - 1)
            first = int(min(tops[column], ends[before]))
            last = int(max(ends[column], tops[before])) + 2
            canvas[max(0, first) : min(_LINE, last), column] = figure.INK
        name = f"{figure.number(low)} to {figure.number(high)}"
        title = f"{title}, {name}" if title else name
    return figure.panel(figure.framed(canvas), title, width=_WIDTH + 2)


def _strongest_of(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T,) -> one value per column of the picture: where several fall on one, that of greatest magnitude."""
    if len(heat) <= _WIDTH:
        return heat[(np.arange(_WIDTH) * len(heat) // _WIDTH)]
    # By place: np.array_split would make the first groups larger and shift everything.
    edges = np.linspace(0, len(heat), _WIDTH + 1).astype(int)
    groups = [heat[start:stop] for start, stop in pairwise(edges)]
    return np.array([g[np.argmax(np.abs(np.nan_to_num(g)))] for g in groups], np.float32)


def _pale(colours: Block) -> Block:
    """Colours behind a line, so light that it stands out."""
    return np.asarray(255 - (255 - colours.astype(np.float32)) * 0.72, np.uint8)


def _axis(length: int) -> Block:
    canvas = figure.blank(26, _WIDTH + 40)
    for value in charts.ticks(0, length - 1, 9):
        column = int((value + 0.5) / length * _WIDTH)
        canvas[:5, column] = figure.INK
        label = figure.text(f"{value:g}", figure.SMALL, figure.MUTED)
        charts.put(canvas, label, 7, max(0, column - label.shape[1] // 2))
    return canvas


def _volume(x: NDArray[Any] | None, extent: tuple[int, ...]) -> NDArray[np.float32] | None:
    """The input's channels reduced to one number for each place."""
    if x is None or x.dtype.kind not in "fiub":
        return None
    found = np.asarray(x, np.float32)
    if found.shape == extent:
        return found
    axis = 0 if found.shape[1:] == extent else 3 if found.shape[:-1] == extent else None
    return None if axis is None else reduced(found, axis, "max-abs")


def _slices(heat: NDArray[np.float32], x: NDArray[np.float32] | None, scale: Scale) -> list[Block]:
    """Three slices through the greatest heat, and every k-th along the first axis."""
    best = np.unravel_index(int(np.argmax(np.abs(np.nan_to_num(heat)))), heat.shape)

    def panel(place: int, axis: int, title: str, side: int) -> Block:
        under = None if x is None else np.asarray(x.take(place, axis))
        shown = _slice(np.asarray(heat.take(place, axis)), under, scale, x, side)
        return figure.panel(figure.framed(shown), title, width=side)

    three = [
        panel(int(best[a]), a, f"{n} axis at {best[a]}", _SLICE) for a, n in enumerate(("first", "second", "third"))
    ]
    through = figure.panel(figure.grid(three, 3), "Slices through the greatest heat", width=3 * (_SLICE + 20))
    step = max(1, -(-len(heat) // _MONTAGE))
    tiles = [panel(i, 0, f"{i}", 150) for i in range(0, len(heat), step)]
    title = "All slices along the first axis" if step == 1 else f"Slices along the first axis, in steps of {step}"
    return [through, figure.panel(figure.grid(tiles, 6), title, width=1000)]


def _slice(
    heat: NDArray[np.float32], x: NDArray[np.float32] | None, scale: Scale, whole: NDArray[np.float32] | None, side: int
) -> Block:
    coloured = figure.colour(heat, scale).astype(np.float32)
    if x is not None and whole is not None:
        low, high = float(np.nanmin(whole)), float(np.nanmax(whole))
        gray = np.nan_to_num((x - low) / ((high - low) or 1.0)) * 255
        share = np.clip(np.abs(np.nan_to_num(heat)) / max(abs(scale.hi), 1e-30) * 1.5, 0, 0.75)[..., None]
        coloured = gray[..., None] * (1 - share) + coloured * share
    return figure.picture(np.rint(coloured).astype(np.uint8), side)
