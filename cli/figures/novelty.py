"""What is unlike the good images: the image, its map, and its most unlike patch next to the nearest good one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files.images import grown
from . import figure

if TYPE_CHECKING:
    from ...engine.novelty.memory import Novelty, NoveltyScore

_SIDE, _PATCH = 300, 144


def sheet(memory: Novelty, found: NoveltyScore, pixels: NDArray[Any], alpha: float = 0.6) -> NDArray[np.uint8]:
    """uint8 (H, W, 3). pixels: of the image, as its card reads them."""
    from ...engine.novelty.memory import crop_at, verdict
    from ...engine.preprocess.depth import shown

    image = shown(pixels, memory.card)
    blocks = [figure.panel(figure.framed(figure.picture(image, _SIDE)), "image")]
    if found.map is not None and found.box is not None:
        blocks.append(figure.panel(figure.framed(_overlay(image, found, alpha)), "distance from good images"))
    if found.row is not None and memory.crops is not None:
        middle = (0.5, 0.5)
        if found.box is not None:
            y0, x0, y1, x1 = found.box
            middle = ((y0 + y1) / 2 / image.shape[0], (x0 + x1) / 2 / image.shape[1])
        name, _ = memory.source_of(found.row)
        here = crop_at(image, middle) if found.box is not None else figure.picture(image, _PATCH)
        patches = [
            figure.panel(figure.framed(figure.picture(here, _PATCH)), "most unlike"),
            figure.panel(figure.framed(figure.picture(memory.crops[found.row], _PATCH)), "nearest good", name),
        ]
        blocks.append(figure.stack(patches, gap=8))
    lines = [f"score {figure.number(found.score)}, novel above {figure.number(found.threshold)}", verdict(found)]
    parts = [figure.side_by_side(blocks, gap=16)]
    if found.map is not None:
        parts.append(figure.colour_bar(_scale(found)))
    return figure.page(Path(found.name).name, lines, parts)


def _scale(found: NoveltyScore) -> figure.Scale:
    """From 0 to twice the threshold: images of one memory have the same colours, the threshold in the middle."""
    return figure.scale_of(np.array([0.0, 2 * found.threshold], np.float32))


def _overlay(image: NDArray[np.uint8], found: NoveltyScore, alpha: float) -> figure.Block:
    """The map over the image, white lines around what is above the threshold."""
    from ...kernels import colormap
    from ...kernels.render import render
    from ...kernels.resize import resize

    scale = _scale(found)
    assert found.map is not None
    small = figure.picture(image, _SIDE)
    heat = np.asarray(resize(found.map, (small.shape[0], small.shape[1])), np.float32)
    drawn = render(heat, small, colormap.table(scale.table), scale.lo, scale.hi, alpha)
    mask = heat > found.threshold
    drawn[grown(mask, 1) & ~mask] = 255
    return drawn
