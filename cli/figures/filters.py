"""The figures of `onnxray filters`: kernels in colour, as grids, as matrices, next to what they make of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..terminal.table import shape_text
from . import charts, figure
from .figure import Block, Scale

if TYPE_CHECKING:
    from ...engine.inspect.weights import Weights
    from .layers import Photo

TILE = 96


def ranked(weights: Weights) -> list[int]:
    """Output channels by the norm of their weights, largest first; of equal ones the lower number first."""
    return [int(i) for i in np.argsort(-weights.norms, kind="stable")]


def symmetric(weights: Weights, *, outliers: bool = False) -> Scale:
    """One diverging scale for all weights of the layer; see `figure.scale_of` for `outliers`."""
    from ...kernels import colormap, normalize

    lo, hi = normalize.symmetric(weights.values)
    beyond = 0.0
    if outliers:
        lo, hi = normalize.percentile(weights.values, 0, 99.5, signed=True)
        beyond = float((np.abs(weights.values) > hi).mean())
    return Scale(colormap.DIVERGING, lo, hi, "weight", beyond)


def as_rgb(kernel: NDArray[np.float32], most: float, order: str) -> Block:
    """A kernel (3, h, w) as an image: channel order `order`, weight 0 is mid gray, as is NaN; +-`most` the ends."""
    channels = kernel[::-1] if order == "BGR" else kernel
    finite = np.nan_to_num(channels.astype(np.float64))
    shades = 127.5 + 127.5 * np.clip(finite / (most or 1.0), -1, 1)
    return np.ascontiguousarray(np.floor(shades + 0.5).astype(np.uint8).transpose(1, 2, 0))


def enlarged(pixels: Block, side: int) -> Block:
    """Pixels as squares, as large as fits into side x side."""
    h, w = pixels.shape[:2]
    factor = max(1, side // max(h, w))
    return np.ascontiguousarray(np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1))


def tile(weights: Weights, index: int, scale: Scale, order: str | None, side: int = TILE) -> Block:
    """One filter: in colour where `order` says how, else its only input channel in the diverging map."""
    kernel = planes(weights)[index]
    if order is not None and len(kernel) == 3:
        return figure.framed(enlarged(as_rgb(kernel, scale.hi, order), side))
    return figure.framed(enlarged(figure.colour(kernel[0], scale), side))


def planes(weights: Weights) -> NDArray[np.float32]:
    """The weights as (out, in, h, w): 1-d kernels become pictures of in x k, the middle slice stands for a 3-d one."""
    values = weights.values
    if weights.spatial == 1:
        return values[:, None]
    if weights.spatial == 3:
        return values[:, :, values.shape[2] // 2]
    return values


def own(scale: Scale, weights: Weights, index: int) -> Scale:
    """The scale of one filter alone."""
    most = float(np.abs(weights.values[index]).max()) or 1.0
    return replace(scale, lo=-most, hi=most)


def tiles(weights: Weights, scale: Scale, shown: Sequence[int], order: str | None, each: bool) -> Block:
    """Filters of one picture each, in rows; with `each`, every one in a scale of its own."""
    panels = []
    for index in shown:
        used, note = scale, f"norm {figure.number(float(weights.norms[index]))}"
        if each:
            used = own(scale, weights, index)
            note = f"w = {figure.number(used.hi)}"
        panels.append(figure.panel(tile(weights, index, used, order), f"{index}", note, TILE))
    return figure.grid(panels)


def matrix_of_kernels(weights: Weights, scale: Scale, shown: Sequence[int], most: int) -> tuple[Block, list[int]]:
    """Kernels as a grid, output channels down, input channels across; and the input channels shown."""
    values = planes(weights)
    flat = values[list(shown)].astype(np.float64)
    strength = np.sqrt((flat * flat).sum(axis=(0, 2, 3)))
    across = sorted(int(i) for i in np.argsort(-strength, kind="stable")[:most])
    h, w = values.shape[2:]
    cell = max(1, min(14, (figure.WIDTH - 60) // (len(across) * (w + 1)), TILE // max(h, w)))
    left, top, gap = 52, 24, max(2, cell // 2)
    pitch_y, pitch_x = h * cell + gap, w * cell + gap
    canvas = figure.blank(top + pitch_y * len(shown) - gap, left + pitch_x * len(across) - gap)
    for row, out in enumerate(shown):
        label = figure.text(str(out), figure.SMALL, figure.MUTED)
        charts.put(canvas, label, top + row * pitch_y + (h * cell - label.shape[0]) / 2, left - 8 - label.shape[1])
        for column, source in enumerate(across):
            block = figure.colour(values[out, source], scale)
            charts.put(canvas, enlarged(block, max(h, w) * cell), top + row * pitch_y, left + column * pitch_x)
    last = -1
    for column, source in enumerate(across):
        label = figure.text(str(source), figure.SMALL, figure.MUTED)
        x = round(left + column * pitch_x + (w * cell - label.shape[1]) / 2)
        if x > last + 6:
            charts.put(canvas, label, 2, x)
            last = x + label.shape[1]
    note = figure.text("down: output channel, across: input channel", figure.SMALL, figure.MUTED)
    return figure.stack([note, canvas], gap=4), across


def matrix(weights: Weights, scale: Scale) -> Block:
    """A dense layer, or a convolution of 1x1, as a matrix of out x in."""
    values = weights.values.reshape(len(weights.values), -1)
    return charts.heat(values, scale, "output channels", "input channels", width=1040, height=720)


def responses(
    weights: Weights, scale: Scale, shown: Sequence[int], order: str | None, maps: NDArray[np.float32], made: Scale
) -> Block:
    """Each filter, in a scale of its own, next to what it makes of the image."""
    side = 150
    panels = []
    small = order is not None or planes(weights).shape[1] == 1
    for index in shown:
        picture = figure.framed(figure.colour(figure.fit(maps[index], side), made))
        note = f"{figure.number(float(maps[index].min()))} to {figure.number(float(maps[index].max()))}"
        pair = [tile(weights, index, own(scale, weights, index), order, 48), picture] if small else [picture]
        panels.append(figure.panel(figure.side_by_side(pair, gap=6), f"{index}", note))
    return figure.grid(panels, gap=22)


def legend(scale: Scale, order: str | None, each: bool) -> Block:
    """What the colours of kernels mean."""
    if each:
        colours = (
            "red, green, blue: gray = 0, full colour = +w, none = -w" if order else "white = 0, red = +w, blue = -w"
        )
        caption = f"{colours}; w is the number below each filter"
        return figure.text(caption, figure.SMALL, figure.MUTED)
    bar = figure.colour_bar(scale)
    if order is None:
        return bar
    gray = np.linspace(0, 255, 360, dtype=np.float64)
    strip = figure.framed(np.repeat(np.repeat(gray[None, :, None], 14, axis=0), 3, axis=2).astype(np.uint8))
    row = figure.blank(figure.text("0", figure.SMALL).shape[0], strip.shape[1])
    for value, place in ((scale.lo, 0.0), (0.0, 0.5), (scale.hi, 1.0)):
        label = figure.text(figure.number(value), figure.SMALL)
        charts.put(row, label, 0, place * (row.shape[1] - label.shape[1]))
    caption = f"weight, each of red, green and blue; mid gray is 0 (the model reads {order})"
    bar = figure.stack([strip, row], gap=4)
    return figure.side_by_side([bar, figure.text(caption, figure.SMALL, figure.MUTED)], gap=14)


def describe(weights: Weights) -> str:
    """Operator, shape and format of the weights, in one line."""
    kernel = shape_text(weights.kernel) if weights.spatial else ""
    out, inputs = weights.values.shape[:2]
    sizes = f"{inputs} x {kernel}".replace("x", " x ").replace("  ", " ")
    parts = [weights.layer.op, f"{out} filters of {sizes}" if kernel else f"matrix of {out} x {inputs}"]
    if weights.groups > 1:
        parts.append(f"{weights.groups} groups")
    if weights.spatial == 3:
        parts.append("the middle slice in depth is shown")
    return ", ".join([*parts, *([weights.note] if weights.note else [])])


def head(photo: Photo) -> Block:
    """The photo above the responses."""
    from .layers import outlined, small

    shown = small(photo, 200)
    return figure.panel(figure.framed(outlined(shown)), "the image", photo.name)
