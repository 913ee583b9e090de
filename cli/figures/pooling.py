"""A pooling layer as a figure: the map before, its windows with their numbers, the map after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...engine.proto.attributes import attributes
from . import figure
from .layer_view import View, strongest

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.inspect.layers import Layer
    from .layers import Photo

_SIDE, _SMALL, _CELL = 320, 170, 46
_MOST_MAPS = 10
_WHOLE = {"GlobalAveragePool": "mean", "GlobalMaxPool": "maximum"}
_MOST_CELLS = 8  # along each side of the part that is shown with numbers
# Colours of the windows, in turn (Okabe and Ito, 2008).
_INKS: tuple[figure.Colour, ...] = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167))


@dataclass(frozen=True)
class Pool:
    """Windows over the rows and columns of the value `source`; `kind` is "maximum" or "mean". A kernel of (0, 0) is one
    window over the whole map."""

    source: str
    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]  # of the first window, negative into the padding


def pool_of(model: Model, layer: Layer) -> Pool | None:
    """What a layer pools, None where it is no pooling with windows over an image."""
    node = model.producer(layer.output)
    if node is not None and node.op_type in _WHOLE:
        return Pool(node.input[0], _WHOLE[node.op_type], (0, 0), (0, 0), (0, 0))
    if node is None or node.op_type not in ("MaxPool", "AveragePool"):
        return None
    found = attributes(node)
    kernel = tuple(found.get("kernel_shape", ()))
    if len(kernel) != 2 or any(step != 1 for step in found.get("dilations", ())):
        return None
    stride = tuple(found.get("strides") or (1, 1))
    if found.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET", b"VALID", "VALID"):
        return None
    pads = list(found.get("pads") or (0, 0, 0, 0))
    kind = "maximum" if node.op_type == "MaxPool" else "mean"
    return Pool(node.input[0], kind, (kernel[0], kernel[1]), (stride[0], stride[1]), (-pads[0], -pads[1]))


def figure_of(pool: Pool, layer: Layer, photo: Photo, before: View, after: View) -> figure.Block | None:
    """The strongest channel before and after, and a part of it with its windows and numbers; of a window over the whole
    map the strongest channels, each with its number. None where the values before are no maps."""
    if before.kind != "maps" or len(before.values) != len(after.values):
        return None
    if pool.kernel == (0, 0):
        return _whole(pool, layer, photo, before, after)
    channel = strongest(after)[0]
    maps = before.values[channel], after.values[channel]
    scale = figure.scale_of(np.concatenate([m.ravel() for m in maps]), "activation")
    first, count = _part(pool, maps)
    kernel, stride = (" x ".join(map(str, pair)) for pair in (pool.kernel, pool.stride))
    lines = [
        f"{layer.op}: the {pool.kind} of windows of {kernel}, in steps of {stride}; "
        f"{_size(maps[0])} become {_size(maps[1])}.",
        f"Image {photo.name}, channel {channel}, the strongest. The square marks the part with numbers below.",
    ]
    box = _cells_before(pool, first, count)
    tops = [
        _marked(maps[0], scale, box, f"before, {_size(maps[0])}"),
        _marked(maps[1], scale, (*first, first[0] + count[0], first[1] + count[1]), f"after, {_size(maps[1])}"),
    ]
    numbers = [
        figure.panel(_numbers_before(pool, maps[0], scale, first, count), "before: a frame per window", width=_SIDE),
        figure.panel(_numbers_after(maps[1], scale, first, count), f"after: the {pool.kind} of each", width=_SIDE),
    ]
    row = figure.side_by_side(tops, gap=40)
    return figure.page(layer.name, lines, [row, figure.colour_bar(scale), figure.side_by_side(numbers, gap=40)])


def _whole(pool: Pool, layer: Layer, photo: Photo, before: View, after: View) -> figure.Block:
    """Each map, and the one number that it becomes, in one scale."""
    shown = strongest(after)[:_MOST_MAPS]
    scale = figure.scale_of(before.values[shown], "activation", outliers=True)
    panels = []
    for index in shown:
        value = float(after.values[index].reshape(-1)[0])
        tile = figure.framed(figure.colour(figure.fit(before.values[index], _SMALL), scale))
        cell = figure.framed(figure.colour(np.full((_CELL, _CELL), value, np.float32), scale))
        becomes = figure.side_by_side([cell, figure.text(figure.number(value), figure.BODY)], gap=10, align="middle")
        panels.append(figure.panel(figure.stack([tile, becomes], gap=8), f"channel {index}"))
    lines = [
        f"{layer.op}: the {pool.kind} over all {_size(before.values[0])} of a channel is one number, wherever in the "
        "image the channel is active.",
        f"Image {photo.name}: the {len(shown)} strongest of {len(after.values)} channels; above the map before, below "
        "the number after.",
    ]
    return figure.page(layer.name, lines, [figure.grid(panels, gap=22), figure.colour_bar(scale)])


def _size(values: NDArray[np.float32]) -> str:
    return f"{values.shape[0]} x {values.shape[1]} cells"


def _part(pool: Pool, maps: tuple[NDArray[np.float32], NDArray[np.float32]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The windows to show: the first one's row and column after pooling, and how many there are down and across.

    The part with the greatest value, away from the padding where that is possible.
    """
    after = np.nan_to_num(maps[1])
    peak = np.unravel_index(int(np.abs(after).argmax()), after.shape)
    first, count = [], []
    for axis in (0, 1):
        k, s, p = pool.kernel[axis], pool.stride[axis], pool.start[axis]
        fits = max(1, min(4, (_MOST_CELLS - k) // s + 1, after.shape[axis]))
        low = min(after.shape[axis] - fits, -(-max(0, -p) // s))
        high = max(low, min(after.shape[axis] - fits, (maps[0].shape[axis] - k - p) // s - fits + 1))
        first.append(int(np.clip(int(peak[axis]) - fits // 2, low, high)))
        count.append(fits)
    return (first[0], first[1]), (count[0], count[1])


def _cells_before(pool: Pool, first: tuple[int, int], count: tuple[int, int]) -> tuple[int, int, int, int]:
    """The cells under the windows, (y0, x0, y1, x1); beyond the map where there is padding."""
    starts = [pool.start[a] + first[a] * pool.stride[a] for a in (0, 1)]
    ends = [starts[a] + (count[a] - 1) * pool.stride[a] + pool.kernel[a] for a in (0, 1)]
    return starts[0], starts[1], ends[0], ends[1]


def _marked(
    values: NDArray[np.float32], scale: figure.Scale, box: tuple[int, int, int, int], title: str
) -> figure.Block:
    """A map with a square around some of its cells."""
    shown = figure.colour(figure.fit(values, _SIDE), scale)
    step = shown.shape[0] / values.shape[0], shown.shape[1] / values.shape[1]
    y0, x0, y1, x1 = (round(edge * step[i % 2]) for i, edge in enumerate(box))
    for inset, ink in ((-2, figure.INK), (-1, figure.PAPER), (0, figure.INK)):
        _rectangle(shown, (y0 + inset, x0 + inset, y1 - inset, x1 - inset), ink)
    return figure.panel(figure.framed(shown), title)


def _rectangle(canvas: figure.Block, box: tuple[int, int, int, int], ink: figure.Colour, width: int = 1) -> None:
    """The outline of a box, its end not included, as far as it lies on the canvas."""
    height, across = canvas.shape[:2]
    y0, x0, y1, x1 = max(0, box[0]), max(0, box[1]), min(height, box[2]), min(across, box[3])
    if y0 < y1 and x0 < x1:
        canvas[y0 : y0 + width, x0:x1], canvas[max(y0, y1 - width) : y1, x0:x1] = ink, ink
        canvas[y0:y1, x0 : x0 + width], canvas[y0:y1, max(x0, x1 - width) : x1] = ink, ink


def _numbers_before(
    pool: Pool, values: NDArray[np.float32], scale: figure.Scale, first: tuple[int, int], count: tuple[int, int]
) -> figure.Block:
    """The cells under the windows with their numbers, each window outlined in a colour of its own."""
    y0, x0, y1, x1 = _cells_before(pool, first, count)
    cells = np.full((y1 - y0, x1 - x0), np.nan, np.float32)
    inside = slice(max(0, y0), min(len(values), y1)), slice(max(0, x0), min(values.shape[1], x1))
    cells[inside[0].start - y0 : inside[0].stop - y0, inside[1].start - x0 : inside[1].stop - x0] = values[inside]
    canvas = _numbered(cells, scale)
    for i in range(count[0]):
        for j in range(count[1]):
            top, left = i * pool.stride[0], j * pool.stride[1]
            inset = 2 + (4 if (i + j) % 2 and pool.stride < pool.kernel else 0)
            box = (
                top * _CELL + inset,
                left * _CELL + inset,
                (top + pool.kernel[0]) * _CELL - inset,
                (left + pool.kernel[1]) * _CELL - inset,
            )
            _rectangle(canvas, box, _ink(i, j), 3)
    return figure.framed(canvas)


def _numbers_after(
    values: NDArray[np.float32], scale: figure.Scale, first: tuple[int, int], count: tuple[int, int]
) -> figure.Block:
    """What the windows become, each outlined in its window's colour."""
    canvas = _numbered(values[first[0] : first[0] + count[0], first[1] : first[1] + count[1]], scale)
    for i in range(count[0]):
        for j in range(count[1]):
            box = (i * _CELL + 2, j * _CELL + 2, (i + 1) * _CELL - 2, (j + 1) * _CELL - 2)
            _rectangle(canvas, box, _ink(i, j), 3)
    return figure.framed(canvas)


def _ink(i: int, j: int) -> figure.Colour:
    return _INKS[(2 * (i % 2) + j) % len(_INKS)]


def _numbered(cells: NDArray[np.float32], scale: figure.Scale) -> figure.Block:
    """Cells with their numbers, the darker the greater the magnitude; cells of padding are gray and empty."""
    strength = 0.5 * np.abs(np.nan_to_num(cells))[..., None] / (max(abs(scale.lo), abs(scale.hi)) or 1.0)
    pale = 255 - np.minimum(strength, 0.5) * (255 - np.array(figure.ACCENT, np.float64))
    pale[np.isnan(cells)] = figure.RULE
    canvas = np.repeat(np.repeat(np.rint(pale).astype(np.uint8), _CELL, axis=0), _CELL, axis=1)
    for (y, x), value in np.ndenumerate(cells):
        words = "" if np.isnan(value) else _short(float(value))
        label = figure.text(words, 12) if words else figure.blank(0, 0)
        top = y * _CELL + (_CELL - label.shape[0]) // 2
        left = x * _CELL + (_CELL - label.shape[1]) // 2
        if words:
            part = canvas[top : top + label.shape[0], left : left + label.shape[1]]
            np.minimum(part, label, out=part)
    canvas[::_CELL], canvas[:, ::_CELL] = figure.PAPER, figure.PAPER
    return canvas


def _short(value: float) -> str:
    """A number in about four characters."""
    return (
        "0"
        if value == 0
        else f"{value:.1f}"
        if 1 <= abs(value) < 1000
        else f"{value:.2f}"
        if abs(value) < 1
        else f"{value:.0f}"
    )
