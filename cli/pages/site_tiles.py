"""Tiles of sheets on a page of the site, each sheet named once in the page's own style.

A page shows tens of tiles of a few sheets: what they share stands in a class, `.s0`, `.s1`, ..., a tile has its place.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..figures.figure import number
from ..tasks.site.view import ImageView, LayerView, Sprite, UnitView
from ..terminal.echo import one_line

if TYPE_CHECKING:
    from markupsafe import Markup

# Of an image, from which share of its sides on a frame would say nothing.
_WHOLE = 0.98


class Tiles:
    """The tiles of one page; `root` leads from the page to the site. `style` is that of all made so far."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._classes: dict[tuple[str, str, tuple[int, int]], str] = {}

    @property
    def style(self) -> str:
        return "".join(
            f".{name}{{background-image:url({quote(self._root + file)});background-size:{scale};"
            f"aspect-ratio:{width}/{height}}}"
            for (file, scale, (height, width)), name in self._classes.items()
        )

    def tile(self, sprite: Sprite | None, words: str = "", extra: str = "") -> Markup:
        """A tile, with `words` for those who do not see it; "" where the text next to it says the same."""
        from markupsafe import Markup

        if sprite is None:
            said = f' role="img" aria-label="{clean(words)}: no picture"' if words else ' aria-hidden="true"'
            return Markup(f'<span class="{_joined("tile empty", extra)}"{said}></span>')
        key = (sprite.file, sprite.scale, sprite.tile)
        name = self._classes.setdefault(key, f"s{len(self._classes)}")
        said = f' role="img" aria-label="{clean(words)}"' if words else ' aria-hidden="true"'
        classes = _joined(f"tile {name}", extra)
        return Markup(f'<span class="{classes}"{said} style="--p:{sprite.place}"></span>')

    def thumb(self, image: ImageView, box: Sequence[float], words: str = "") -> Markup:
        """A whole image, with a frame around `box`, (y0, x0, y1, x1) in shares of it; `words` as of a tile."""
        from markupsafe import Markup

        small = box[2] - box[0] < _WHOLE or box[3] - box[1] < _WHOLE
        frame = f'<i style="{_frame(image.size, box)}"></i>' if small else ""
        return Markup(f'<span class="thumb">{self.tile(image.sprite, words)}{frame}</span>')

    def link(self, layer: LayerView, unit: UnitView, value: float) -> Markup:
        """An entry of a grid that leads to a unit from a page of a layer."""
        from markupsafe import Markup

        address, shown = f"../{quote(layer.slug)}/{unit.number}.html", self.tile(unit.tile)
        words = f"<span>{clean(layer.name)}<br>{clean(unit.title)}</span><small>{number(value)}</small>"
        return Markup(f'<li><a href="{address}">{shown}{words}</a></li>')


@functools.lru_cache(maxsize=1 << 14, typed=True)
def clean(text: str) -> Markup:
    """Text of models, escaped, on one line, without control characters and those that turn its direction."""
    from markupsafe import escape

    return escape(one_line(text))


def bars(histogram: Mapping[str, Any] | None) -> Markup | str:
    """A histogram as a drawing, with the ends of the range below the bars."""
    from markupsafe import Markup

    if not histogram or not histogram["counts"]:
        return ""
    counts, width, height = histogram["counts"], 400, 120
    step, most = width / len(counts), max(counts) or 1
    path = "".join(
        f"M{n * step + 1:.4g} {height}v{-height * c / most:.4g}h{step - 2:.4g}V{height}z"
        for n, c in enumerate(counts)
        if c
    )
    low, high = number(histogram["low"]), number(histogram["high"])
    words = f"Histogram of {sum(counts)} values from {low} to {high}"
    return Markup(
        f'<svg viewBox="0 0 {width} {height + 18}" role="img" aria-label="{words}"><path d="{path}"/>'
        f'<line x1="0" y1="{height}" x2="{width}" y2="{height}"/><text x="0" y="{height + 15}">{low}</text>'
        f'<text x="{width}" y="{height + 15}" text-anchor="end">{high}</text></svg>'
    )


def _joined(classes: str, extra: str) -> str:
    return f"{classes} {extra}" if extra else classes


def _frame(size: Sequence[int], box: Sequence[float]) -> str:
    """Where a box, in shares of an image, lies in the square that the whole image is fitted into, as CSS."""
    tall, wide = (length / max(size) for length in size)
    top, left = (1 - tall) / 2, (1 - wide) / 2
    sides = (top + box[0] * tall, 1 - left - box[3] * wide, 1 - top - box[2] * tall, left + box[1] * wide)
    return f"inset:{' '.join(f'{100 * max(0.0, side):.4g}%' for side in sides)}"
