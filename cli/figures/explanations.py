"""Explanations in figures, manifests and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..terminal.echo import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation

_PANEL = 224
OTHERS = 12


def sheet(
    name: str, pixels: NDArray[np.uint8], found: Sequence[Explanation], alpha: float, colormap: str | None = None
) -> NDArray[np.uint8]:
    """The image and every map on it, side by side, each with its method, target and colours."""
    from . import figure

    panels = [figure.panel(figure.framed(figure.picture(pixels, _PANEL)), name, "", _PANEL)]
    for e in found:
        lo, hi = e.range
        scale = figure.Scale(colormap or e.colormap, lo, hi)
        picture = figure.framed(figure.picture(e.overlay(alpha, colormap), _PANEL))
        block = figure.stack([picture, figure.colour_bar(scale, picture.shape[1] - 2)], gap=5)
        note = f"{one_line(e.label)}: {figure.number(e.score)}"
        panels.append(figure.panel(block, e.method, note, _PANEL))
    layers = dict.fromkeys(e.layer for e in found if e.layer)
    lines = [
        f"{name}: " + "; ".join(dict.fromkeys(one_line(f"{e.label}, score {figure.number(e.score)}") for e in found))
    ]
    lines += [f"Class activation maps at {', '.join(layers)}."] if layers else []
    return figure.page("Explanations", lines, [figure.grid(panels)])


def gallery(names: Sequence[str], found: Sequence[Explanation], alpha: float) -> NDArray[np.uint8]:
    """One method on several images, side by side; every map in a range of its own."""
    from . import figure

    panels = []
    for name, e in zip(names, found, strict=True):
        picture = figure.framed(figure.picture(e.overlay(alpha), _PANEL))
        note = f"{one_line(e.label)}: {figure.number(e.score)}; colours to {figure.number(e.range[1])}"
        panels.append(figure.panel(picture, name, note, _PANEL))
    layers = dict.fromkeys(e.layer for e in found if e.layer)
    lines = [f"Class activation maps at {', '.join(layers)}."] if layers else []
    return figure.page(found[0].method, lines, [figure.grid(panels)])
