"""Pages of a model's health: histograms before and after activation functions, similarity of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...kernels.colormap import SEQUENTIAL
from ...kernels.histogram import edges
from ..files.images import draw_text
from . import figure
from .charts import put, ticks

if TYPE_CHECKING:
    from ...engine.survey.health import Health
    from ...engine.survey.layer_health import LayerHealth

_WIDTH, _HEIGHT, _LABELS = 420, 110, 210


def histograms(name: str, layers: Sequence[LayerHealth], count: int) -> NDArray[np.uint8]:
    """A page: for each layer the values before its activation function, behind it, and how often its units fire."""
    heads = [
        figure.text(words, figure.SMALL, figure.MUTED)
        for words in ("before the activation function", "behind it; orange: exactly 0")
    ]
    head = figure.blank(heads[0].shape[0], _LABELS + 2 * figure.GAP + 2 * _WIDTH)
    for n, block in enumerate(heads):
        put(head, block, 0, _LABELS + figure.GAP + n * (_WIDTH + figure.GAP))
    lines = [f"Values of all units, places and {count} images, by how common they are; the same axis left and right."]
    return figure.page(f"Values of {name}", lines, [figure.stack([head, *map(_layer, layers)], gap=18)])


def _layer(found: LayerHealth) -> figure.Block:
    label = figure.blank(_HEIGHT, _LABELS)
    dead, always = int(found.dead.sum()), int(found.always_on.sum())
    lines = [
        f"{found.layer.units} units, {found.function or 'no function'}",
        f"not above 0: {100 * float(found.sparsity.mean()):.0f} %",
        *([f"{dead} dead"] if dead else []),
        *([f"{always} always on"] if always else []),
        *([f"saturated: {100 * share:.0f} %"] if (share := float(found.saturated.mean())) >= 0.005 else []),
    ]
    words = [figure.text(found.layer.name, figure.SMALL, bold=True, width=_LABELS - 12)]
    words += [figure.text(line, figure.SMALL, figure.MUTED, width=_LABELS - 12) for line in lines]
    put(label, figure.stack(words, gap=4), 0, 0)
    before, after = found.before.sum(axis=0), found.after.sum(axis=0)
    ends = _ends(before + after)
    return figure.side_by_side([label, _chart(before, ends), _chart(after, ends)])


def _ends(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Between which all but four in a thousand of the values lie."""
    limits, total = edges(), counts.sum()
    share = np.cumsum(counts) / max(1, total)
    low, high = int((share > 0.002).argmax()), int((share >= 0.998).argmax())
    first, last = float(limits[low]), float(limits[high + 1])
    return (min(first, 0.0), max(last, 0.0)) if last > first else (first - 1, last + 1)


def _chart(counts: NDArray[np.int64], ends: tuple[float, float], bars: int = 84) -> figure.Block:
    """Densities: bins of growing width are spread over bars of one width; a far higher bar at 0 is cut."""
    canvas = figure.blank(_HEIGHT + 26, _WIDTH)
    canvas[:_HEIGHT] = figure.SHADE
    lo, hi = ends
    limits, zero = edges(), len(counts) // 2
    cells = np.linspace(lo, hi, bars + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(np.where(np.arange(len(counts)) == zero, 0, counts))])
    heights = np.diff(np.interp(cells, limits, cumulative))
    at_zero = int(counts[zero])
    most = float(heights.max()) or 1.0
    place = min(bars - 1, max(0, int((0 - lo) / (hi - lo) * bars)))
    for n, value in enumerate(heights):
        _bar(canvas, n, bars, value / most, figure.ACCENT)
    if at_zero:
        share = at_zero / max(1, int(counts.sum()))
        _bar(canvas, place, bars, min(1.0, at_zero / most), figure.SECOND)
        if share >= 0.01:
            label = figure.text(f"0: {100 * share:.0f} %", figure.SMALL, figure.SECOND)
            left = (place + 1) * _WIDTH / bars + 5
            put(canvas, _on_shade(label), 4, left if left + label.shape[1] < _WIDTH else left - label.shape[1] - 16)
    for value in ticks(lo, hi):
        x = round((value - lo) / (hi - lo) * (_WIDTH - 1))
        canvas[_HEIGHT : _HEIGHT + 4, x] = figure.INK
        label = figure.text(figure.number(value), figure.SMALL, figure.MUTED)
        put(canvas, label, _HEIGHT + 6, min(max(0, x - label.shape[1] // 2), _WIDTH - label.shape[1]))
    return canvas


def _on_shade(label: figure.Block) -> figure.Block:
    """Text on the chart's background in place of paper."""
    return np.asarray(label * (np.array(figure.SHADE) / 255.0), np.uint8)


def _bar(canvas: figure.Block, n: int, bars: int, share: float, ink: figure.Colour) -> None:
    left, right = round(n * _WIDTH / bars), round((n + 1) * _WIDTH / bars)
    height = round(share * (_HEIGHT - 6))
    if height:
        canvas[_HEIGHT - height : _HEIGHT, left : max(left + 1, right - 1)] = ink


def similarities(found: Health) -> NDArray[np.uint8]:
    """A page: the similarity of all layers of the model with one another, and with those of each other model."""
    scale = figure.Scale(SEQUENTIAL, 0.0, 1.0, "linear CKA")
    blocks = []
    for number, model in enumerate(found.models):
        rows, columns = list(found.layers), list(model.layers)
        title = f"rows: {found.models[0].name}; columns: {model.name if number else 'the same'}"
        blocks.append(
            figure.stack(
                [figure.text(title, figure.BODY, bold=True), _matrix(found.similarity(number), rows, columns, scale)],
                gap=10,
            )
        )
    lines = [
        "How alike two layers see the images: 1 where one is a rotation of the other, 0 where they have nothing in "
        "common. Blocks of alike layers are stages; a row that is dark throughout is a layer on its own."
    ]
    title = f"Similarity of the layers of {found.models[0].name}"
    return figure.page(title, lines, [*blocks, figure.colour_bar(scale)])


def _matrix(
    values: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], scale: figure.Scale
) -> figure.Block:
    """Cells with names to their left and numbers below; the number in a cell where there is room."""
    side = int(min(48, max(10, 760 // max(len(rows), len(columns)))))
    grid = np.repeat(np.repeat(figure.colour(values, scale), side, 0), side, 1)
    if side >= 38:
        for (y, x), value in np.ndenumerate(values):
            if value == value:
                ink = figure.INK if value > 0.6 else figure.PAPER
                draw_text(
                    grid, f"{value:.2f}", (x * side + side // 2, y * side + side // 2 - 8), 13, ink, anchor="middle"
                )
    names = [figure.text(f"{name}  {n}", figure.SMALL, width=300) for n, name in enumerate(rows)]
    wide = max(block.shape[1] for block in names)
    left = figure.blank(len(rows) * side, wide)
    step = max(1, -(-names[0].shape[0] // side))
    for n in range(0, len(rows), step):
        put(left, names[n], n * side + (side - names[n].shape[0]) // 2, wide - names[n].shape[1])
    below = figure.blank(20, len(columns) * side)
    for n in range(0, len(columns), max(1, -(-26 // side))):
        label = figure.text(str(n), figure.SMALL, figure.MUTED)
        put(below, label, 2, n * side + (side - label.shape[1]) // 2)
    return figure.side_by_side([left, figure.stack([grid, below], gap=4)], gap=8)
