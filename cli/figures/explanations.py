"""Explanations in figures, manifests and reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...engine.errors import MethodError
from ..terminal.echo import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...engine.attribution.explanation import Explanation
    from .figure import Scale

PANEL = 224
OTHERS = 12
_ACROSS = 4
# Pixels that are looked at at once.
_WHOLE = 1 << 20


class Sheet:
    """The image and every map on it, each with its colours: methods are rows and targets columns.

    Of one target, the methods fill rows of several. Maps are added one after the other, and only what is shown of them
    is kept.
    """

    def __init__(self, name: str, pixels: NDArray[np.uint8], alpha: float, colormap: str | None = None) -> None:
        self.name, self.alpha, self.colormap = name, alpha, colormap
        self._pixels = pixels
        self._rows: dict[str, dict[str, NDArray[np.uint8]]] = {}
        self._targets: dict[str, str] = {}
        self._layers: dict[str, None] = {}
        self._image: NDArray[np.uint8] | None = None
        self._is_veiled = False
        self._asides: dict[str, NDArray[np.uint8]] = {}

    def aside(self, what: str, block: NDArray[np.uint8]) -> None:
        """A picture next to the image, of all explanations."""
        self._asides[what] = block

    def add(
        self,
        e: Explanation,
        overlay: NDArray[np.uint8] | None = None,
        range: tuple[float, float] | None = None,
        extra: Mapping[str, NDArray[np.uint8]] | None = None,
        trust: tuple[str, str] | None = None,
    ) -> None:
        """overlay: the map on the image, where it is there already. range: the values at the ends of its colours.

        extra: further pictures of the explanation, by what they show. trust: a light and its verdict in words.
        """
        from . import figure
        from .crop import own_range, pair, support

        if self._image is None:
            whole = seen(self._pixels, e)  # as large as the image: only what is shown of it is kept
            self._image, self._is_veiled = figure.framed(figure.picture(whole, PANEL)), whole is not self._pixels
            del whole
        place = support(e) if self.colormap is None else None
        if place:
            range = own_range(e)
            shown = pair(self._pixels, e.picture(range=range), place, PANEL)
        else:
            whole = overlay if overlay is not None else e.overlay(self.alpha, self.colormap, range)
            shown = figure.framed(figure.picture(whole, PANEL))
        scale = figure.Scale(self.colormap or e.colormap, *(range or e.range))
        label = one_line(e.label)
        self._targets[label] = e.score_text
        blocks = [shown, figure.colour_bar(scale, PANEL), *([] if trust is None else [_light(*trust)])]
        self._put(e.method, label, figure.stack(blocks, gap=5))
        for what, block in (extra or {}).items():
            self._put(f"{e.method}: {what}", label, block, e.method)
        if e.layer:
            self._layers[e.layer] = None

    def _put(self, row: str, label: str, block: NDArray[np.uint8], method: str = "") -> None:
        if row not in self._rows and method:  # after the rows of its method, which an earlier target has put there
            names = list(self._rows)
            last = max(i for i, name in enumerate(names) if name == method or name.startswith(f"{method}: "))
            order = [*names[: last + 1], row, *names[last + 1 :]]
            self._rows = {name: self._rows.get(name, {}) for name in order}
        self._rows.setdefault(row, {})[label] = block

    @property
    def picture(self) -> NDArray[np.uint8]:
        from . import figure

        scores = [f"{label}: {score}" for label, score in self._targets.items()]
        lines = ["; ".join(scores) if len(scores) == 1 else "Methods are rows, what they explain is above the columns."]
        lines += [f"Class activation maps at {', '.join(self._layers)}."] if self._layers else []
        if self._is_veiled:
            lines.append("Pale gray edges: the model does not see them.")
        image = self._image if self._image is not None else figure.framed(figure.picture(self._pixels, PANEL))
        body = self._flow(image) if len(scores) < 2 else self._table(image)
        return figure.page(f"Explanations of {self.name}", [line for line in lines if line], [body])

    def _flow(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One map per method, in rows of four."""
        from . import figure

        panels = [figure.panel(image, "the image", "", PANEL)]
        panels += [figure.captioned(block, what, "", PANEL) for what, block in self._asides.items()]
        panels += [
            figure.captioned(block, method, "", PANEL)
            for method, cells in self._rows.items()
            for block in cells.values()
        ]
        return figure.grid(panels)

    def _table(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Methods down, targets across; the image below the first method's name."""
        from . import figure

        column = PANEL + 2
        heads = [figure.blank(1, column)]
        for label, score in self._targets.items():
            note = figure.text(score, figure.SMALL, figure.MUTED)
            heads.append(figure.stack([figure.paragraph(label, figure.SMALL, column, bold=True), note], gap=3))
        rows = [figure.cells(heads, column, align="end")]
        asides = [figure.captioned(block, what, "", PANEL) for what, block in self._asides.items()]
        for number, (method, found) in enumerate(self._rows.items()):
            name = [figure.paragraph(method, figure.SMALL, column, bold=True), *([] if number else [image, *asides])]
            blocks = [found.get(label, figure.blank(1, column)) for label in self._targets]
            rows.append(figure.blank(1, rows[0].shape[1], figure.RULE))
            rows.append(figure.cells([figure.stack(name, gap=8), *blocks], column))
        return figure.stack(rows, gap=12)


# Of traffic lights; the words next to them say the same.
_LIGHTS = {"green": (46, 139, 87), "yellow": (226, 168, 24), "red": (200, 48, 48)}
_LAMP = 12


def _light(light: str, verdict: str) -> NDArray[np.uint8]:
    """A small traffic light next to its verdict."""
    from . import figure

    lamp = figure.blank(_LAMP, _LAMP, _LIGHTS.get(light, figure.MUTED))
    return figure.side_by_side([lamp, figure.paragraph(verdict, figure.SMALL, PANEL - _LAMP - 6)], gap=6)


def seen(pixels: NDArray[np.uint8], e: Explanation) -> NDArray[np.uint8]:
    """The image, with what the model does not see veiled."""
    import numpy as np

    from ...engine.attribution.colours import veiled

    if e.geometry is None:
        return pixels
    geometry = replace(e.geometry, original=pixels.shape[:2])  # the image may be a smaller copy of the explained one
    out = pixels
    height, width = pixels.shape[:2]
    step = max(1, _WHOLE // max(width, 1))
    for start in range(0, height, step):
        rows = (start, min(height, start + step))
        unseen = np.isnan(geometry.to_image(np.zeros((1, 1), np.float32), "nearest", fill=float("nan"), rows=rows))
        if unseen.any():
            out = pixels.copy() if out is pixels else out
            out[slice(*rows)][unseen] = veiled(pixels[slice(*rows)][unseen])
    return out


def shared_range(ranges: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The range that holds all of them."""
    known = list(ranges)
    return min(lo for lo, _ in known), max(hi for _, hi in known)


@dataclass(frozen=True)
class Gallery:
    """One method on several images: (name, pixels, note) of each, the colours that all have, and what to say."""

    method: str
    panels: tuple[tuple[str, NDArray[np.uint8], str], ...]
    scale: Scale
    lines: tuple[str, ...]

    @property
    def picture(self) -> NDArray[np.uint8]:
        """All side by side."""
        from . import figure

        panels = [
            figure.captioned(figure.framed(figure.picture(pixels, PANEL)), name, note, PANEL)
            for name, pixels, note in self.panels
        ]
        rows = math.ceil(len(panels) / _ACROSS)
        grid = figure.grid(panels, math.ceil(len(panels) / rows))
        return figure.page(self.method, self.lines, [grid, figure.colour_bar(self.scale)])


def gallery_of(found: Iterable[tuple[str, Explanation]], alpha: float) -> Gallery:
    """One method on several images, by their names, all maps in one range of colours."""
    from . import figure

    kept = [(name, miniature(e, PANEL), e.range) for name, e in found]
    if not kept:
        raise MethodError("there is no image to show a method on: give at least one")
    common = shared_range(range for _, _, range in kept)
    panels = []
    for name, e, own in kept:
        note = f"{one_line(e.label)}: {figure.number(e.score)}; greatest value {figure.number(own[1])}"
        panels.append((name, e.overlay(alpha, range=common), note))
    first = kept[0][1]
    layers = dict.fromkeys(e.layer for _, e, _ in kept if e.layer)
    lines = [f"Class activation maps at {', '.join(layers)}."] if layers else []
    lines.append("All maps have the same colours for the same values, so that weak ones look weak.")
    return Gallery(first.method, tuple(panels), figure.Scale(first.colormap, *common), tuple(lines))


def miniature(e: Explanation, side: int) -> Explanation:
    """The same on a copy of its image of at most `side` pixels: to draw many, the images need not be kept."""
    from . import figure

    if e.image is None or e.geometry is None or max(e.image.shape[:2]) <= side:
        return e
    small = figure.picture(e.image, side)
    return replace(e, geometry=replace(e.geometry, original=small.shape[:2]), underneath=lambda: small)
