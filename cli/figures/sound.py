"""An explained sound: its waveform, its spectrogram with the relevance over it, Hz and seconds at the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from ..terminal.echo import one_line
from . import charts, figure
from .figure import Block, Scale

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation
    from ...engine.sound.heard import HeardSound

WIDTH, HEIGHT, WAVE = 1000, 400, 110
_LEFT = 64


def figure_of(e: Explanation, title: str) -> Block:
    """The figure of one explanation of a sound."""
    assert e.sound is not None
    lines = [f"{e.method}{f' at {e.layer}' if e.layer else ''}: {one_line(e.label)}, {e.score_text}.", _about(e.sound)]
    lines += [f"Warning: {text}." for text in e.warnings[:3]]
    lo, hi = _colours_of(e)
    scale = Scale(e.colormap, lo, hi, "relevance")
    blocks = [_waveform(e.sound), _plane(e), figure.colour_bar(scale)]
    return figure.page(title, [line for line in lines if line], blocks)


def _about(heard: HeardSound) -> str:
    """Which frames are shown, where a model hears a sound in frames."""
    if not heard.frame:
        return ""
    count = -(-len(heard.whole) // heard.frame)
    step = figure.number(1000 * heard.frame / heard.rate)
    if len(heard.explained) == count > 1:
        return f"All {count} frames of {step} ms; what the frames before each have left in the model is kept."
    return (
        f"Frame {heard.explained[0]} of {count}, {step} ms each, from {heard.start:.3f} s on; what the frames before "
        "it have left in the model is kept."
    )


def plane_picture(e: Explanation) -> Block:
    """The spectrogram in gray with the relevance over it, without axes: WIDTH across, low frequencies at the bottom."""
    assert e.sound is not None
    shown = e.overlay(0.85, range=_colours_of(e))[:, _inside(e.sound)]
    h, w = shown.shape[:2]
    tall = resize(shown, (HEIGHT, w), "nearest" if h <= HEIGHT else "area")
    return resize(tall, (HEIGHT, WIDTH), "nearest" if w <= WIDTH else "area")


def _colours_of(e: Explanation) -> tuple[float, float]:
    """The values at the ends of the colours."""
    assert e.sound is not None
    return (0.0 if e.display == "positive" else -e.sound.most), e.sound.most


def _inside(heard: HeardSound) -> slice:
    """The columns whose middles lie in the explained part: others show silence around it."""
    inside = np.flatnonzero((heard.plane.times >= 0) & (heard.plane.times <= len(heard.samples) / heard.rate))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def ends_of(heard: HeardSound) -> tuple[float, float]:
    """The seconds of the whole sound at both ends of `plane_picture`."""
    times, half = heard.times[_inside(heard)], heard.plane.hop / 2 / heard.rate
    return max(heard.start, float(times[0]) - half), float(times[-1]) + half


def wave_picture(heard: HeardSound) -> Block:
    """The waveform of the whole sound, the explained part on a tint, the scores of frames as a line."""
    canvas = figure.blank(WAVE, WIDTH, figure.SHADE)
    seconds = len(heard.whole) / heard.rate
    ends = [heard.start, heard.start + len(heard.samples) / heard.rate]
    first, last = (round(min(max(at / seconds, 0), 1) * WIDTH) for at in ends)
    canvas[:, first : max(first + 2, last)] = (214, 228, 243)
    edges = np.linspace(0, len(heard.whole), WIDTH + 1).astype(int)
    most = float(np.abs(heard.whole).max()) or 1.0
    for column in range(WIDTH):
        part = heard.whole[edges[column] : max(edges[column] + 1, edges[column + 1])] / most
        top, bottom = (round(WAVE / 2 - value * (WAVE / 2 - 3)) for value in (float(part.max()), float(part.min())))
        canvas[top : bottom + 1, column] = figure.ACCENT
    _scores(canvas, heard)
    return canvas


def _scores(canvas: Block, heard: HeardSound) -> None:
    """The score of each frame as steps, from the least at the bottom to the greatest at the top."""
    scores = heard.scores
    if len(scores) < 2 or not np.isfinite(scores).all():
        return
    low, high = float(scores.min()), float(scores.max())
    rows = np.rint(WAVE - 4 - (scores - low) / ((high - low) or 1.0) * (WAVE - 8)).astype(int)
    place = np.minimum(np.arange(WIDTH) / WIDTH * len(heard.whole) / heard.frame, len(scores) - 1).astype(int)
    at = rows[place]
    for column in range(WIDTH):
        before = at[max(0, column - 1)]
        canvas[min(at[column], before) : max(at[column], before) + 2, column] = figure.SECOND


def _waveform(heard: HeardSound) -> Block:
    seconds = len(heard.whole) / heard.rate
    title = f"The sound, {figure.number(seconds)} s at {heard.rate} Hz; the explained part on blue"
    if len(heard.scores) > 1:
        low, high = figure.number(float(heard.scores.min())), figure.number(float(heard.scores.max()))
        title += f"; orange: the score of each frame, {low} to {high}"
    canvas = figure.blank(WAVE + 28, _LEFT + WIDTH + 24)
    canvas[:WAVE, _LEFT : _LEFT + WIDTH] = wave_picture(heard)
    _times(canvas, 0.0, seconds, WAVE)
    return figure.panel(canvas, title, width=canvas.shape[1])


def _plane(e: Explanation) -> Block:
    heard = e.sound
    assert heard is not None
    canvas = figure.blank(HEIGHT + 28, _LEFT + WIDTH + 24)
    canvas[:HEIGHT, _LEFT : _LEFT + WIDTH] = plane_picture(e)
    top = float(heard.frequencies[-1])
    for value in charts.ticks(0, top, 8):
        row = round(HEIGHT - 1 - value / top * (HEIGHT - 1))
        canvas[row, _LEFT - 5 : _LEFT] = figure.INK
        label = figure.text(f"{value:g}", figure.SMALL, figure.MUTED)
        place = min(max(0, row - label.shape[0] // 2), HEIGHT - label.shape[0])
        charts.put(canvas, label, place, _LEFT - 9 - label.shape[1])
    _times(canvas, *ends_of(heard), HEIGHT)
    title = "Relevance (colours) over the spectrogram (gray): Hz upwards, seconds across"
    return figure.panel(canvas, title, width=canvas.shape[1])


def _times(canvas: Block, start: float, stop: float, row: int) -> None:
    """Seconds below a picture."""
    for value in charts.ticks(start, stop, 11):
        column = _LEFT + round((value - start) / (stop - start) * (WIDTH - 1))
        canvas[row : row + 5, column] = figure.INK
        label = figure.text(f"{value:g}", figure.SMALL, figure.MUTED)
        charts.put(canvas, label, row + 8, min(column - label.shape[1] // 2, canvas.shape[1] - label.shape[1]))


def spread(heard: HeardSound, part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples of the explained part at their place in the whole sound, silence elsewhere."""
    out = np.zeros(len(heard.whole), np.float32)
    first = round(heard.start * heard.rate)
    start, stop = max(0, first), min(len(out), first + len(part))
    out[start:stop] = part[start - first : stop - first]
    return out
