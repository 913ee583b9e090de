"""An explained volume: slices through its hottest place and a montage, turned as radiologists look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...engine.volumes.shown import Turned, turned
from ...kernels import colormap
from ...kernels.resize import resize
from ..terminal.echo import one_line
from . import charts, figure
from .figure import Block, Scale

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation

_SIDE, _TILE, _TILES = 340, 150, 21
# Of the colours: their greatest share, and the share of the greatest heat from which they have it.
_SHARE, _FROM = 0.62, 0.5
_NAMES = ("axial", "coronal", "sagittal")
# What lies at the left, right, top and bottom of a slice: Right, Left, Anterior, Posterior, Superior, Inferior.
_EDGES = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))


@dataclass(frozen=True, eq=False)
class View:
    """A volume and its heat, turned: (slices from the feet up, rows from front to back, columns from right to left)."""

    values: NDArray[np.float32]
    heat: NDArray[np.float32]
    spacing: tuple[float, float, float]
    ends: tuple[float, float]
    scale: Scale
    turn: Turned
    shape: tuple[int, ...]

    def slice(self, axis: int, place: int, side: int) -> Block:
        """One slice with its heat, side pixels at most, in true proportions."""
        gray, heat = (np.asarray(part.take(place, axis)) for part in (self.values, self.heat))
        steps = [step for number, step in enumerate(self.spacing) if number != axis]
        if axis:  # slices run from the feet up, pictures from the top down
            gray, heat = gray[::-1], heat[::-1]
        across = [n * step for n, step in zip(gray.shape, steps, strict=True)]
        size = tuple(max(1, round(side * length / max(across))) for length in across)
        low, high = self.ends
        shade = np.clip((gray - low) / (high - low), 0, 1) * 255
        shade = np.asarray(resize(np.ascontiguousarray(shade, np.float32), (size[0], size[1]), "bilinear"))
        warm = np.asarray(resize(np.ascontiguousarray(heat, np.float32), (size[0], size[1]), "bilinear"))
        colours = figure.colour(warm, self.scale).astype(np.float32)
        most = max(abs(self.scale.hi), 1e-30)
        share = np.clip(np.abs(warm) / most / _FROM, 0, 1)[..., None] * _SHARE
        mixed: Block = np.rint(shade[..., None] * (1 - share) + colours * share).astype(np.uint8)
        return mixed


def view_of(e: Explanation) -> View:
    """The volume of an explanation, turned."""
    assert e.volume is not None
    given, turn = e.volume.given, turned(e.volume.affine)
    values = given.values if given.values.ndim == 3 else given.values[0]
    finite = np.nan_to_num(e.volume.values)
    most = float(np.abs(finite).max()) or 1.0
    positive = e.display == "positive"
    heat = np.maximum(finite, 0) if positive else finite
    table = colormap.SEQUENTIAL if positive else colormap.DIVERGING
    scale = Scale(table, 0.0 if positive else -most, most, "relevance")
    return View(turn.of(values), turn.of(heat), turn.spacing(given.spacing), given.ends(), scale, turn, given.shape)


def figure_of(e: Explanation, title: str) -> Block:
    """The figure of one explanation of a volume."""
    assert e.volume is not None
    view = view_of(e)
    z, y, x = e.volume.hottest
    mm = ", ".join(figure.number(value) for value in e.volume.hottest_mm)
    lines = [
        f"{e.method}{f' at {e.layer}' if e.layer else ''}: {one_line(e.label)}, {e.score_text}.",
        f"Hottest voxel: slice {z}, row {y}, column {x}; {mm} mm (right, front, top).",
        *(f"Warning: {text}." for text in e.warnings[:3]),
    ]
    place = view.turn.place(e.volume.hottest, view.shape)
    three = [_marked(view, axis, place, f"{_NAMES[axis]}, {_number(view, axis, place[axis])}") for axis in range(3)]
    count = view.values.shape[0]
    step = max(1, -(-count // _TILES))
    chosen = range((place[0] % step), count, step)
    tiles = [
        figure.panel(view.slice(0, at, _TILE), str(view.turn.original(at, 0, view.shape)), width=_TILE) for at in chosen
    ]
    named = "All axial slices" if step == 1 else f"Axial slices in steps of {step}"
    montage = figure.panel(figure.grid(tiles, 7), f"{named}, from the feet up, by number in the file", width=1060)
    through = figure.panel(figure.grid(three, 3), "Slices through the hottest voxel", width=1060)
    return figure.page(title, lines, [through, montage, figure.colour_bar(view.scale)])


def _number(view: View, axis: int, place: int) -> str:
    word = ("slice", "row", "column")[view.turn.axes[axis]]
    return f"{word} {view.turn.original(place, axis, view.shape)}"


def _marked(view: View, axis: int, place: tuple[int, int, int], title: str) -> Block:
    """A slice with what lies at its edges, and lines where the others cut it, open at the hottest voxel."""
    shown = view.slice(axis, place[axis], _SIDE)
    rows, columns = (number for number in range(3) if number != axis)
    height, width = shown.shape[:2]
    part = (place[rows] + 0.5) / view.values.shape[rows]
    row = round((1 - part if axis else part) * height)
    column = round((place[columns] + 0.5) / view.values.shape[columns] * width)
    for line, at, length in ((0, row, width), (1, column, height)):
        gap = column if line == 0 else row
        ends = [*range(max(0, gap - 14)), *range(min(length, gap + 14), length)]
        dots = [end for end in ends if end % 6 < 3]
        where = (np.full(len(dots), min(max(at, 0), shown.shape[line] - 1)), np.array(dots, int))
        shown[where if line == 0 else where[::-1]] = (255, 214, 90)
    for letter, (y, x) in zip(_EDGES[axis], ((0.5, 0.02), (0.5, 0.98), (0.03, 0.5), (0.97, 0.5)), strict=True):
        mark = figure.text(letter, figure.SMALL, figure.INK, bold=True)
        charts.put(shown, mark, y * height - mark.shape[0] / 2, x * width - mark.shape[1] * x)
    return figure.panel(figure.framed(shown), title, width=_SIDE)


def strip_of(view: View, most: int, side: int) -> tuple[Block, list[int]]:
    """Axial slices under one another, from the feet up, every k-th of more than `most`; their numbers in the file."""
    count = view.values.shape[0]
    chosen = list(range(0, count, max(1, -(-count // most))))
    numbers = [view.turn.original(at, 0, view.shape) for at in chosen]
    return np.concatenate([view.slice(0, at, side) for at in chosen]), numbers
