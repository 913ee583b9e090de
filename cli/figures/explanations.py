"""Explanations in figures, manifests and reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..terminal.echo import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation

_PANEL = 224
OTHERS = 12


class Sheet:
    """The image and every map on it, side by side, each with its method, target and colours.

    Maps are added one after the other, and only what is shown of them is kept.
    """

    def __init__(self, name: str, pixels: NDArray[np.uint8], alpha: float, colormap: str | None = None) -> None:
        from . import figure

        self.name, self.alpha, self.colormap = name, alpha, colormap
        self._panels = [figure.panel(figure.framed(figure.picture(pixels, _PANEL)), name, "", _PANEL)]
        self._layers: dict[str, None] = {}
        self._scores: dict[str, None] = {}

    def add(self, e: Explanation, overlay: NDArray[np.uint8] | None = None) -> None:
        """overlay: the map on the image, where it is there already."""
        from . import figure

        scale = figure.Scale(self.colormap or e.colormap, *e.range)
        whole = overlay if overlay is not None else e.overlay(self.alpha, self.colormap)
        picture = figure.framed(figure.picture(whole, _PANEL))
        block = figure.stack([picture, figure.colour_bar(scale, picture.shape[1] - 2)], gap=5)
        note = f"{one_line(e.label)}: {figure.number(e.score)}"
        self._panels.append(figure.panel(block, e.method, note, _PANEL))
        self._scores[one_line(f"{e.label}, score {figure.number(e.score)}")] = None
        if e.layer:
            self._layers[e.layer] = None

    @property
    def picture(self) -> NDArray[np.uint8]:
        from . import figure

        lines = [f"{self.name}: " + "; ".join(self._scores)]
        lines += [f"Class activation maps at {', '.join(self._layers)}."] if self._layers else []
        return figure.page("Explanations", lines, [figure.grid(self._panels)])


def gallery(found: Iterable[tuple[str, Explanation]], alpha: float) -> NDArray[np.uint8]:
    """One method on several images, by their names, side by side; every map in a range of its own."""
    from . import figure

    panels, layers, method = [], dict[str, None](), ""
    for name, e in found:
        picture = figure.framed(figure.picture(e.overlay(alpha), _PANEL))
        note = f"{one_line(e.label)}: {figure.number(e.score)}; colours to {figure.number(e.range[1])}"
        panels.append(figure.panel(picture, name, note, _PANEL))
        method = e.method
        if e.layer:
            layers[e.layer] = None
    lines = [f"Class activation maps at {', '.join(layers)}."] if layers else []
    return figure.page(method, lines, [figure.grid(panels)])
