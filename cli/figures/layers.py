"""The figures of `onnxray activations`: a layer's channels, its mean map on the photo, its histogram, the walk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..terminal.table import axes_text, spaced_shape
from . import charts, figure
from .figure import Block, Scale
from .layer_view import View, statistics_of, strongest

if TYPE_CHECKING:
    from ...engine.inspect.layers import Layer
    from ...engine.preprocess.geometry import Geometry

TILE = 128
# Pixels of a photo that a map is laid on at once.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Photo:
    """The image that was shown to the model: its name, its pixels, where they lie on the model's plane."""

    name: str
    pixels: NDArray[np.uint8]
    geometry: Geometry


def describe_layer(layer: Layer) -> str:
    """Operator, shape and what one element sees, in one line."""
    parts = [layer.op, spaced_shape(layer.shape)]
    field = layer.receptive_field
    if field is not None:
        parts.append(f"receptive field {axes_text(field.size)} px, stride {axes_text(field.stride)} px")
    return ", ".join(parts)


def channels(view: View, photo: Photo, scale: Scale, shown: Sequence[int], order: str, *, each: bool = False) -> Block:
    """The maps `shown`, in that order, all in one scale, or each in its own."""
    side = max(TILE, min(max(view.values.shape[1:]), 160))
    tops = view.items
    panels = []
    for index in shown:
        used = figure.scale_of(view.values[index]) if each else scale
        tile = figure.framed(figure.colour(figure.fit(view.values[index], side), used))
        silent = not np.any(np.nan_to_num(view.values[index]))
        note = (
            "0 everywhere" if silent else span(used) if each else f"max {figure.number(float(np.nanmax(tops[index])))}"
        )
        panels.append(figure.panel(tile, f"{index}", note, side))
    total = len(view.values)
    count = f"all {total} {view.item}s" if len(shown) == total else f"{len(shown)} of {total} {view.item}s"
    lines = [
        f"{describe_layer(view.layer)}{f', {view.note}' if view.note else ''}",
        f"Image {photo.name}: {count}, {order}. Above each map its number, below "
        + ("the range of its own colours." if each else "its greatest value."),
    ]
    return figure.page(view.layer.name, lines, [figure.grid(panels), *([] if each else [figure.colour_bar(scale)])])


def mean_map(view: View) -> NDArray[np.float32]:
    """The mean over all channels, float32 (h, w); NaN does not count."""
    values = np.nan_to_num(view.values.astype(np.float64), nan=0.0)
    return np.asarray(values.mean(axis=0), np.float32)


def overlay(values: NDArray[np.float32], photo: Photo, scale: Scale, alpha: float = 0.6) -> Block:
    """A map laid over the photo, at the photo's size; where the model does not see it, the photo stays as it is."""
    from ...kernels import colormap
    from ...kernels.render import render

    out: Block = np.empty(photo.pixels.shape, np.uint8)
    table, (height, width) = colormap.table(scale.table), out.shape[:2]
    step = max(1, _AT_ONCE // width)
    for start in range(0, height, step):
        rows = slice(start, min(height, start + step))
        spread = photo.geometry.to_image(values, fill=float("nan"), rows=(rows.start, rows.stop))
        render(spread, photo.pixels[rows], table, scale.lo, scale.hi, alpha, out=out[rows])
    return out


def small(photo: Photo, side: int) -> Photo:
    """The photo at a size for a figure."""
    pixels = figure.picture(photo.pixels, side)
    height, width = pixels.shape[:2]
    return Photo(photo.name, pixels, replace(photo.geometry, original=(height, width)))


def cropped(photo: Photo) -> bool:
    """Whether the model sees only a part of the photo."""
    return photo.geometry.box != (0.0, 0.0, *map(float, photo.pixels.shape[:2]))


def outlined(photo: Photo) -> Block:
    """The photo with a black and white line around the part that the model sees, if that is not all of it."""
    out: Block = photo.pixels.copy()
    if not cropped(photo):
        return out
    y0, x0, y1, x1 = (round(edge) for edge in photo.geometry.box)
    for inset, ink in ((0, figure.INK), (1, figure.PAPER), (2, figure.INK)):
        top, left, bottom, right = y0 + inset, x0 + inset, y1 - 1 - inset, x1 - 1 - inset
        if top < bottom and left < right:
            out[[top, bottom], left : right + 1] = ink
            out[top : bottom + 1, [left, right]] = ink
    return out


def mean(view: View, photo: Photo, scale: Scale) -> Block:
    """The photo, the mean map, and the map over the photo, with the layer's numbers."""
    return on_image(view, photo, scale, mean_map(view), f"mean of {len(view.values)} {view.item}s", view.on_image)


def on_image(
    view: View, photo: Photo, scale: Scale, values: NDArray[np.float32], what: str, lies_on_it: bool = True
) -> Block:
    """The photo, a map made of the layer, the map over the photo where it lies on it, and the layer's numbers."""
    side = 320
    shown = small(photo, side)
    title = "the image; box: what the model sees" if cropped(shown) else "the image"
    tiles = [figure.panel(figure.framed(outlined(shown)), title, shown.name)]
    plane = figure.framed(figure.colour(figure.fit(values, side), scale))
    h, w = values.shape
    tiles.append(figure.panel(plane, what, f"{h} x {w} cells"))
    if lies_on_it:
        laid = figure.framed(overlay(values, shown, scale))
        tiles.append(figure.panel(laid, "on the image", "bilinear between the cells' centres"))
    blocks = [figure.side_by_side(tiles, gap=22), figure.colour_bar(scale), numbers(view)]
    return figure.page(view.layer.name, [describe_layer(view.layer)], blocks)


def numbers(view: View) -> Block:
    """The layer's statistics as a line of small columns."""
    stats = statistics_of(view)
    cells = [
        ("min", figure.number(stats.min)),
        ("max", figure.number(stats.max)),
        ("mean", figure.number(stats.mean)),
        ("standard deviation", figure.number(stats.std)),
        ("exactly 0", f"{figure.number(100 * stats.zeros)} %"),
        (f"silent {view.item}s", f"{stats.silent} of {stats.items}"),
    ]
    blocks = [
        figure.stack([figure.text(name, figure.SMALL, figure.MUTED), figure.text(value, figure.BODY)], gap=4)
        for name, value in cells
    ]
    return figure.side_by_side(blocks, gap=34)


def bars(view: View, photo: Photo, labels: Sequence[str] | None, most: int = 20) -> Block:
    """The units that answer most strongly, labelled where they are classes."""
    shown = strongest(view)[:most]
    names = [labels[i] if labels else f"{view.item} {i}" for i in shown]
    chart = charts.bars(names, [float(view.values[i]) for i in shown], width=900, label_width=380)
    total = len(view.values)
    count = f"{len(shown)} of {total} {view.item}s, greatest magnitude first"
    lines = [describe_layer(view.layer), f"Image {photo.name}: {count}."]
    return figure.page(view.layer.name, lines, [chart, numbers(view)])


def heat(view: View, photo: Photo, scale: Scale) -> Block:
    """Tokens x features, time x units, positions x channels."""
    table = charts.heat(view.values, scale, f"{view.rows}s", f"{view.item}s" if "(" not in view.item else view.item)
    lines = [describe_layer(view.layer), f"Image {photo.name}."]
    return figure.page(view.layer.name, lines, [table, figure.colour_bar(scale), numbers(view)])


def histograms(layer: Layer, photo: Photo, parts: Sequence[tuple[str, NDArray[Any]]], function: str = "") -> Block:
    """How values are spread, one histogram per part under one another, over the same range.

    function: the name of the activation function between two parts, which is drawn next to them.
    """
    every = np.concatenate([np.asarray(values, np.float64).ravel() for _, values in parts])
    finite = every[np.isfinite(every)]
    lo, hi = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if lo == hi:
        lo, hi = lo - 0.5, hi + 0.5
    bins = 72
    width = (hi - lo) / (bins - 2)  # 0 becomes an edge, so that no bin holds values of both signs
    lo, hi = math.floor(lo / width) * width, math.ceil(hi / width) * width
    bins = round((hi - lo) / width)
    fills = (figure.MUTED, figure.ACCENT) if len(parts) > 1 else (figure.ACCENT,)
    blocks = [
        charts.histogram(values, title, (lo, hi), width=560 if function else 720, bins=bins, fill=fill)
        for (title, values), fill in zip(parts, fills, strict=True)
    ]
    lines = [describe_layer(layer), f"Image {photo.name}. Across: the value; up: the share of all values in one bin."]
    body = figure.stack(blocks, gap=24)
    if function and len(parts) == 2 and parts[0][1].size == parts[1][1].size:
        drawn = charts.curve(parts[0][1], parts[1][1], f"{function}: the value after it by the value before")
        body = figure.side_by_side([body, drawn], gap=32)
    return figure.page(layer.name, lines, [body])


def step(view: View, number: int, side: int = 144) -> Block:
    """One tile of the walk: what `step_picture` draws, with the layer's name and numbers."""
    layer = view.layer
    drawn, note = step_picture(view, side)
    lines = [
        figure.text(f"{number}  {layer.op}", figure.SMALL, bold=True, width=side),
        figure.text(layer.name, figure.SMALL, width=side),
        drawn,
        figure.text(spaced_shape((layer.shape or ())[1:]), figure.SMALL, figure.MUTED, width=side),
        figure.text(sees(view), figure.SMALL, figure.MUTED, width=side),
        figure.text(note, figure.SMALL, figure.MUTED, width=side),
    ]
    return figure.stack(lines, gap=4)


def step_picture(view: View, side: int = 144) -> tuple[Block, str]:
    """The mean map and the three strongest channels of a layer (or bars, or a heat table); the range of its colours."""
    from ...kernels.resize import resize

    scale = figure.scale_of(view.values, outliers=view.kind != "vector")
    if view.kind == "maps":
        average = mean_map(view)
        own = figure.scale_of(average)
        main = figure.colour(figure.fit(average, side), own)
        third = (side - 8) // 3
        best = [_centred(figure.colour(figure.fit(view.values[i], third), scale), third) for i in strongest(view)[:3]]
        return figure.stack([_centred(main, side), figure.side_by_side(best, gap=4)], gap=4), span(own)
    if view.kind == "table":
        enlarged = max(view.values.shape) <= side
        return figure.colour(resize(view.values, (side, side), "nearest" if enlarged else "area"), scale), span(scale)
    return charts.columns(view.values, scale, side), span(scale)


def sees(view: View) -> str:
    field = view.layer.receptive_field
    if field is not None:
        return f"field {axes_text(field.size)} px, stride {axes_text(field.stride)}"
    return "no fixed field" if view.on_image else "field: the whole input"


def span(scale: Scale) -> str:
    """The range of a scale in words."""
    return f"{figure.number(scale.lo)} to {figure.number(scale.hi)}"


def _centred(block: Block, side: int) -> Block:
    """A block in the middle of a square."""
    out = figure.blank(side, side, figure.SHADE)
    y, x = (side - block.shape[0]) // 2, (side - block.shape[1]) // 2
    out[y : y + block.shape[0], x : x + block.shape[1]] = block
    return out


def walk(model_name: str, photo: Photo, tiles: Sequence[Block], left_out: int, blocks: bool = False) -> Block:
    """The image's way through the network, tile after tile."""
    why = "layers inside blocks" if blocks else "layers that only move, rename or rescale numbers"
    first = figure.panel(figure.framed(_centred(small(photo, 144).pixels, 144)), "the image", photo.name, 146)
    lines = [
        f"{photo.name} on its way through {model_name}, {'block by block' if blocks else 'layer by layer'}"
        + (f"; not shown: {why} ({left_out})." if left_out else "."),
        "Each tile: the mean of all channels, below it the three strongest; tokens down and features "
        "across where there is no map, bars where there is one number per unit. Every layer has its own range, written "
        "under it: blue to red where values have both signs, dark to bright from 0 where they have not.",
    ]
    return figure.page("Walk through the network", lines, [figure.grid([first, *tiles], gap=20)])
