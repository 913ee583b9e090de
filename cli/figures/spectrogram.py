"""A map over a spectrogram that is given as an array: Hz upwards, seconds across, as the model's card says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.attribution.maps import reduced
from ...engine.sound.bands import band_frequencies
from ...kernels.resize import resize
from ...kernels.upsample import upsample
from ..terminal.echo import one_line
from . import charts, figure
from .array_map import scale_of_map
from .figure import Block

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

_WIDTH, _HEIGHT, _LEFT = 960, 360, 64


def is_spectrogram(e: Explanation, x: NDArray[Any] | None) -> bool:
    """Whether the card says the rate and the hop of a spectrogram, and the sample is one: two axes longer than 1."""
    said = {} if e.model is None else e.model.overrides.get("sound") or {}
    if "hop" not in said or "rate" not in said or x is None or x.dtype.kind not in "fiu":
        return False
    return bool(sum(n > 1 for n in x.shape) == 2)


def figure_of(e: Explanation, x: NDArray[Any], title: str) -> Block:
    """The figure of one map over a spectrogram x: (bands, times) or (times, bands), with axes of size 1."""
    assert e.model is not None
    said: Mapping[str, int] = e.model.overrides["sound"]
    given = np.asarray(x, np.float32).squeeze()
    heat = _over(e, x.shape, given.shape)
    if _times_first(e, x.shape):
        given, heat = given.T, heat.T
    scale = scale_of_map(e, heat)
    where = f" at {e.layer}" if e.layer else ""
    lines = [f"{e.method}{where}: {one_line(e.label)}, {e.score_text}.", *(f"Warning: {t}." for t in e.warnings[:3])]
    if not _axes_say(e, x.shape):
        lines.append("Time is taken to be the longer axis: the card's axes do not say which one it is.")
    blocks = [_plane(given, heat, said, scale), figure.colour_bar(scale)]
    return figure.page(title, lines, blocks)


def _over(e: Explanation, shape: tuple[int, ...], plane: tuple[int, ...]) -> NDArray[np.float32]:
    """The values over the spectrogram's own cells."""
    values = np.asarray(e.values, np.float32)
    if values.shape == shape:
        return values.squeeze()
    if values.ndim == 3 and 1 in shape and values.shape != shape:
        values = reduced(values, shape.index(1), e.reduce)
    if e.map is not None and values.ndim != 2:
        values = e.map
    if values.ndim == 1:
        along = 0 if plane[0] == len(values) else 1
        return np.broadcast_to(values[:, None] if along == 0 else values[None], plane).astype(np.float32)
    return np.asarray(values if values.shape == plane else upsample(values, (plane[0], plane[1])), np.float32)


def _times_first(e: Explanation, shape: tuple[int, ...]) -> bool:
    """Whether time runs along the first of the two axes: as the card's axes say, else where it is the longer one."""
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if axes := _axes_say(e, shape):
        return axes.index("T") - 1 == wide[0]
    return shape[wide[0]] > shape[wide[1]]


def _axes_say(e: Explanation, shape: tuple[int, ...]) -> str:
    """The card's axes, where they say which one is time."""
    axes = str(e.model.overrides.get("axes", "")) if e.model is not None else ""
    return axes if "T" in axes and len(axes) == len(shape) + 1 else ""


def _plane(
    given: NDArray[np.float32], heat: NDArray[np.float32], said: Mapping[str, int], scale: figure.Scale
) -> Block:
    low, high = (float(end) for end in np.percentile(given, (1, 99)))
    gray = 255 - np.clip((given - low) / ((high - low) or 1.0), 0, 1) * 150
    share = np.clip(np.abs(np.nan_to_num(heat)) / max(abs(scale.hi), 1e-30) * 4, 0, 1)[..., None] * 0.85
    mixed = gray[..., None] * (1 - share) + figure.colour(heat, scale) * share
    shown = np.rint(mixed[::-1]).astype(np.uint8)
    h, w = shown.shape[:2]
    shown = resize(shown, (_HEIGHT, w), "nearest" if h <= _HEIGHT else "area")
    shown = resize(shown, (_HEIGHT, _WIDTH), "nearest" if w <= _WIDTH else "area")
    canvas = figure.blank(_HEIGHT + 28, _LEFT + _WIDTH + 24)
    canvas[:_HEIGHT, _LEFT : _LEFT + _WIDTH] = shown
    hz = band_frequencies(said, len(given))
    for band in np.unique(np.linspace(0, len(hz) - 1, 9).round().astype(int)):
        row = round(_HEIGHT - (band + 0.5) / len(hz) * _HEIGHT)
        canvas[min(row, _HEIGHT - 1), _LEFT - 5 : _LEFT] = figure.INK
        label = figure.text(figure.number(float(hz[band])), figure.SMALL, figure.MUTED)
        place = min(max(0, row - label.shape[0] // 2), _HEIGHT - label.shape[0])
        charts.put(canvas, label, place, _LEFT - 9 - label.shape[1])
    seconds = given.shape[1] * said["hop"] / said["rate"]
    for value in charts.ticks(0, seconds, 11):
        column = _LEFT + round(value / seconds * (_WIDTH - 1))
        canvas[_HEIGHT : _HEIGHT + 5, column] = figure.INK
        label = figure.text(f"{value:g}", figure.SMALL, figure.MUTED)
        charts.put(canvas, label, _HEIGHT + 8, min(column - label.shape[1] // 2, canvas.shape[1] - label.shape[1]))
    title = "Relevance (colours) over the spectrogram (gray): Hz upwards, seconds across"
    return figure.panel(canvas, title, width=canvas.shape[1])
