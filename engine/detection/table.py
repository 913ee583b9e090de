"""The table of a detector's candidates: what it is made of, and a model that computes it."""

from __future__ import annotations

from dataclasses import dataclass

from ..caches import of_model
from ..errors import ModelError, OnnxrayError
from ..graph.model import Model
from ..preprocess.find import find_detector
from .emit import LABELS, OBJECTNESS, with_table
from .evidence import evidence, usual_plane
from .layout import Grid, Layout, Part
from .plugins import check_plugins
from .registry import rules
from .shapes import COEFFICIENTS, MAPS, POINTS, PROTOTYPES


@dataclass(frozen=True)
class Table:
    """The candidates of a detector at one size of its input.

    model: the detector with the values of `emit` as outputs. layout: where they were found. plane: (height, width).
    classes: columns of scores; 1 where a column of its own names the class.
    """

    model: Model
    layout: Layout
    plane: tuple[int, int]

    @property
    def reason(self) -> str:
        """Every decision and why it was taken, in one line."""
        return f"{self.layout.rule}: " + "; ".join(self.layout.reasons)

    @property
    def has_labels(self) -> bool:
        return LABELS in {v.name for v in self.model.outputs}

    @property
    def has_objectness(self) -> bool:
        return OBJECTNESS in {v.name for v in self.model.outputs}

    @property
    def shapes(self) -> tuple[str, ...]:
        """The values that hold masks and points, as far as there are any."""
        there = {v.name for v in self.model.outputs}
        return tuple(name for name in (COEFFICIENTS, PROTOTYPES, MAPS, POINTS) if name in there)

    @property
    def has_masks(self) -> bool:
        return COEFFICIENTS in self.shapes or MAPS in self.shapes

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The places of all candidates, level by level; empty where they are unknown."""
        return tuple(part.grid for part in self.layout.parts if part.grid is not None) or self.layout.grids

    def middle(self, level: int) -> int:
        """The candidate in the middle of a level."""
        grid = self.grids[level]
        cell = (grid.cells[0] // 2) * grid.cells[1] + grid.cells[1] // 2
        first = sum(before.count for before in self.grids[:level])
        return first + (cell if grid.outer else cell * grid.anchors)

    def place(self, candidate: int) -> tuple[int | None, tuple[int, int] | None]:
        """The level and the cell (row, column) that a candidate belongs to, None where that is unknown."""
        for level, grid in enumerate(self.grids):
            if candidate < grid.count:
                cell = candidate % (grid.count // grid.anchors) if grid.outer else candidate // grid.anchors
                return level, (cell // grid.cells[1], cell % grid.cells[1])
            candidate -= grid.count
        return None, None

    def element(self, candidate: int, label: int) -> str:
        """Where the score of a candidate and a class stands in the graph: "scores:17,1" or "output:NAME, candidate"."""
        for part in self.layout.parts:
            count = part.grid.count if part.grid is not None and len(self.layout.parts) > 1 else None
            if count is None or candidate < count:
                return _index(part, candidate, self._column(part, label))
            candidate -= count
        return ""

    def _column(self, part: Part, label: int) -> int:
        if part.labels is not None:
            return 0 if part.scores.columns is None else part.scores.columns[0]
        background = self.layout.background
        label = label if background is None or label < background else label + 1
        return label + (part.scores.columns[0] if part.scores.columns else 0)


def _index(part: Part, candidate: int, column: int) -> str:
    read, grid = part.scores, part.grid
    if read.axes in ("NAK", "AK"):
        return f"{read.value}:{candidate},{column}"
    if read.axes == "NKA":
        return f"{read.value}:{column},{candidate}"
    if read.axes in ("NA", "A"):
        return f"{read.value}:{candidate}"
    if grid is None:
        return f"{read.value}:candidate {candidate}"
    places = grid.count // grid.anchors
    cell, anchor = (candidate % places, candidate // places) if grid.outer else divmod(candidate, grid.anchors)
    y, x = divmod(cell, grid.cells[1])
    if read.axes == "NaHWK":
        return f"{read.value}:{anchor},{y},{x},{column}"
    wide = anchor * (part.width or 0) + column  # the columns of an anchor follow one another
    return f"{read.value}:{wide},{y},{x}" if read.axes == "NKHW" else f"{read.value}:{y},{x},{wide}"


def table_of(model: Model, plane: tuple[int, int] | None = None) -> Table:
    """The table of candidates, found by the rules; `plane` is the size of the input, by default the card's.

    Raises ModelError where the model is no detector that any rule knows, CardError.
    """
    if plane is None:
        plane = usual_plane(model)
    return _table(model, plane)


@of_model
def _table(model: Model, plane: tuple[int, int]) -> Table:
    check_plugins(model)
    hints = find_detector(model)
    found = evidence(model, plane, hints)
    found.arrays([v.name for v in model.outputs if v.dtype is not None])  # in one run
    for rule in rules():
        layout = rule.find(found)
        if layout is not None:
            return Table(with_table(model, layout, found.plane), layout, found.plane)
    outputs = ", ".join(map(str, model.outputs))
    raise ModelError(
        f"no candidates of a detector are found in the outputs {outputs}: name them with "
        "detector={'boxes': NAME, 'scores': NAME, 'box_format': 'xyxy'}"
    )


@of_model
def is_detector(model: Model) -> bool:
    """Whether a rule finds candidates in the model."""
    try:
        table_of(model)
    except OnnxrayError:
        return False
    return True
