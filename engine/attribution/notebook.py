"""Explanations shown: as HTML in notebooks and browsers, and in matplotlib's axes."""

from __future__ import annotations

import html
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from .colours import RGB
from .png import data_url
from .text_html import text_html

if TYPE_CHECKING:
    from .explanation import Explanation

# Sides of pictures in pixels, and the height of a colour bar.
_SIDE, _BAR = 480, 12
_NO_MATPLOTLIB = "plot needs matplotlib: `pip install matplotlib`, or take overlay(), which is an array"


def html_of(e: Explanation) -> str:
    """The image and the overlay with alternative texts, a caption, the colour scale, and the warnings."""
    if e.reading is not None:
        return text_html(e)
    if e.map is None:
        return f"<p>{html.escape(repr(e))}</p>"
    image = [] if e.image is None else [_picture(e.image, e.source or "the image")]
    shown = e.overlay() if e.image is not None else e.picture()
    image.append(_picture(shown, f"{e.method} map of {e.label}{' over the image' if image else ''}"))
    notes = "".join(f"<br>warning: {html.escape(text)}" for text in e.warnings)
    caption = f"<figcaption>{html.escape(_title(e))}{_scale(e)}{notes}</figcaption>"
    return f"<figure>{''.join(image)}{caption}</figure>"


def show(parts: Sequence[Explanation]) -> None:
    """Show explanations below the cell of a notebook, or as a page in the browser. Raises OutputError."""
    body = "".join(html_of(e) for e in parts)
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    if shell is not None and getattr(shell, "kernel", None) is not None:
        sys.modules["IPython.display"].display(sys.modules["IPython.display"].HTML(body))
        return
    # The browser reads it after this process is gone: the file stays, in the folder for temporary files.
    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="onnxray-", delete=False, encoding="utf-8") as file:
        file.write(f'<!doctype html><meta charset="utf-8"><title>{html.escape(parts[0].label)}</title>{body}')
    if not webbrowser.open(Path(file.name).as_uri()):
        raise OutputError(f"no notebook and no browser to show it in: open {file.name}, or use save(folder)")


def plot(e: Explanation, ax: Any, alpha: float, colormap: str | None) -> Any:
    """The overlay in the axes `ax`, or in new ones, with a colour bar; the axes. Raises OutputError."""
    shown = e.overlay(alpha, colormap)
    try:
        from matplotlib import pyplot
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize
    except ImportError:
        raise OutputError(_NO_MATPLOTLIB) from None
    ax = pyplot.subplots()[1] if ax is None else ax
    ax.imshow(shown)
    ax.set_title(_title(e))
    ax.set_axis_off()
    name = colormap or e.colormap
    if name != RGB:
        colours = ListedColormap(_table(name) / 255.0, name)
        ax.figure.colorbar(ScalarMappable(Normalize(*e.range), colours), ax=ax)
    return ax


def plot_all(parts: Sequence[Explanation], ax: Any, alpha: float, colormap: str | None) -> Any:
    """One overlay in each of the axes `ax`, or in new ones in a row; the axes. Raises OutputError."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise OutputError(_NO_MATPLOTLIB) from None
    axes = pyplot.subplots(1, len(parts), squeeze=False)[1] if ax is None else ax
    flat = np.ravel(axes)
    if len(flat) != len(parts):
        raise OutputError(f"{len(parts)} explanations were given {len(flat)} axes: give one for each")
    for e, one in zip(parts, flat, strict=True):
        plot(e, one, alpha, colormap)
    return axes


def _title(e: Explanation) -> str:
    where = f" at {e.layer}" if e.layer else ""
    return f"{e.method}{where}: {e.label}, {e.score_text}"


def _scale(e: Explanation) -> str:
    """The colour bar with both of its ends."""
    lo, hi = (f"{end:.4g}" for end in e.range)
    if e.colormap == RGB:
        return f"<br>gray = 0, full colour = {hi}"
    bar = np.repeat(_table(e.colormap)[None], _BAR, axis=0)
    style = "height:12px;width:160px;vertical-align:middle"
    return f'<br>{lo} <img src="{data_url(bar)}" alt="colours from {lo} to {hi}" style="{style}"> {hi}'


def _table(name: str) -> NDArray[np.uint8]:
    from ...kernels import colormap

    return colormap.table(name)


def _picture(image: NDArray[np.uint8], text: str) -> str:
    """An <img> no larger than notebooks show it, nearest pixels."""
    step = max(1, -(-max(image.shape[:2]) // _SIDE))
    small = np.ascontiguousarray(image[::step, ::step])
    style = "margin-right:6px;max-width:100%"
    return f'<img src="{data_url(small)}" alt="{html.escape(text)}" style="{style}">'
