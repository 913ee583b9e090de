"""The layer for a box of a detector: the last map from which both its score and its sides descend.

In front of the head a box is one cell of one map, and its gradient at the head's last map is that of one cell: nothing
to see. Behind the fork of the head into scores and sides a map knows one of them alone. So the layer is the last one at
which both have a slope, in several cells: the neck's output at the box's level.

A level has one layer, found once for a model: with its middle candidate and a picture of noise. Where levels are
unknown the boxes themselves decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..detection.emit import LOGITS, SIDES
from ..detection.evidence import evidence
from ..detection.nodes import PREFIX
from ..detection.shapes import COEFFICIENTS, MAPS, MASKS, POINTS, PROTOTYPES
from ..detection.table import Table
from ..errors import GradientError
from ..graph.model import Model
from ..inference.batches import RunOptions
from ..inspect.layers import Layer
from ..inspect.signature import image_input
from ..proto.nodes import reads
from ..targets.boxes import BoxTarget
from .gradients import Gradients
from .inputs import Input
from .runs import Runs

if TYPE_CHECKING:
    from .problem import Problem

REASON = "the last map that the box's score and its sides both descend from"
# Cells with a slope that make a map, where the map has more.
_CELLS = 9
# Layers that are looked at in one pass, the last ones first.
_TOGETHER = 12
# Not a plain sum of the sides: what moves a box as a whole would cancel what makes it larger.
_SIDES = (1.0, 0.9, 1.1, 0.8)


def is_of_box(problem: Problem) -> bool:
    """Whether the target is a box of a detector."""
    return isinstance(problem.target, BoxTarget)


def fork_layers(problem: Problem, fitting: Sequence[Layer]) -> list[Layer]:
    """The layer of every box, each once, of those that class activation mapping fits; empty where there is none.

    Of a model that is compiled, whose boxes are not known yet, the layers of all levels. Without derivatives: the last
    layer that both scores and sides depend on.
    """
    target = problem.target
    assert isinstance(target, BoxTarget)
    table, boxes = target.table, target.candidates
    if boxes and target.of in (MASKS, POINTS):
        own = problem.gradients
        return _forks(problem.input, table, list(boxes), tuple(fitting), problem.runtime, own, target.of)
    levels: set[int | None] = {table.place(candidate)[0] for candidate in boxes}
    if not boxes:
        levels = set(range(len(table.grids))) or {None}
    if None in levels and boxes:
        # What the boxes were found with is not computed again.
        known = problem.runs.activations([LOGITS, SIDES]) if problem.runs.y_is_known else {}
        return _forks(problem.input, table, list(boxes), tuple(fitting), problem.runtime, known=known)
    found = [
        layer for level in sorted(levels, key=str) for layer in _of_level(table.model, table, level, tuple(fitting))
    ]
    return list(dict.fromkeys(found))


def candidates_of(problem: Problem, fitting: Sequence[Layer]) -> dict[str, list[tuple[int, int]]]:
    """For each layer of a detector's levels, by its name, the candidates that are explained at it: first and one behind
    the last, level by level. Empty where levels are unknown."""
    target = problem.target
    assert isinstance(target, BoxTarget)
    found: dict[str, list[tuple[int, int]]] = {}
    first = 0
    for level, grid in enumerate(target.table.grids):
        for layer in _of_level(target.table.model, target.table, level, tuple(fitting)):
            found.setdefault(layer.name, []).append((first, first + grid.count))
        first += grid.count
    return found


@of_model
def _of_level(model: Model, table: Table, level: int | None, fitting: tuple[Layer, ...]) -> list[Layer]:
    """The layer of a level, by its middle candidate and a picture of noise."""
    image = image_input(model)
    feeds = dict(evidence(model, table.plane, {}).feeds)
    noise = Input(image.name, feeds.pop(image.name), feeds, image.layout)
    candidate = None if level is None else table.middle(level)
    return _forks(noise, table, candidate if candidate is None else [candidate], fitting, RunOptions(providers="cpu"))


def _forks(
    given: Input,
    table: Table,
    candidates: list[int] | None,
    fitting: tuple[Layer, ...],
    runtime: RunOptions,
    own: Gradients | None = None,
    of: str = SIDES,
    known: Mapping[str, NDArray[Any]] | None = None,
) -> list[Layer]:
    """The layers of candidates, each once; None stands for the middle one of the table.

    own: the gradients of what is explained, where it is a mask or a point, in place of those of the sides. known:
    values (N, ...) of the table for this input.
    """
    model = table.model
    also = {COEFFICIENTS, PROTOTYPES, MAPS} & set(table.shapes) if of == MASKS else {of}
    before = _smooth(model, LOGITS).intersection(*(_smooth(model, value) for value in also))
    layers = [layer for layer in fitting if layer.output in before and not layer.output.startswith(PREFIX)]
    passes = [
        _gradients(given, table, candidates, LOGITS, runtime, known),
        own or _gradients(given, table, candidates, SIDES, runtime, known),
    ]
    missing = set(range(1 if candidates is None else len(candidates)))
    found: dict[str, Layer] = {}
    try:
        for end in range(len(layers), 0, -_TOGETHER):
            some = layers[max(0, end - _TOGETHER) : end]
            of_score, of_sides = (one.by([layer.output for layer in some]) for one in passes)
            for layer in reversed(some):
                both = [_cells(of[layer.output], layer) for of in (of_score, of_sides)]
                for row in sorted(missing):
                    if all(_spreads(cells[row]) for cells in both):
                        missing.discard(row)
                        found[layer.output] = layer
            if not missing:
                break
    except GradientError:
        return layers[-1:]
    return list(found.values())


@of_model
def _smooth(model: Model, value: str) -> frozenset[str]:
    """What a value is computed from through floats: behind a selection, boxes depend on scores by indices alone."""
    needed = {value}
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            needed.update(name for name in reads(node) if name not in model.values or _is_float(model, name))
    return frozenset(needed)


def _is_float(model: Model, name: str) -> bool:
    dtype = model.value(name).dtype
    return dtype is None or dtype.kind == "f"


def _gradients(
    given: Input,
    table: Table,
    candidates: list[int] | None,
    of: str,
    runtime: RunOptions,
    known: Mapping[str, NDArray[Any]] | None = None,
) -> Gradients:
    """The gradients of all class scores, or of the sides, of each candidate of the samples, in their order."""

    def pick(y: NDArray[np.float32]) -> NDArray[np.float32]:
        chosen = [y.shape[1] // 2] * len(y) if candidates is None else candidates
        weights = np.zeros((len(chosen), *y.shape[1:]), np.float32)
        for row, candidate in zip(weights, chosen, strict=True):
            row[candidate] = _SIDES if of == SIDES else 1 + 0.1 * np.arange(y.shape[2])
        return weights.reshape(len(y), -1, *y.shape[1:])

    count = 1 if candidates is None else len(candidates) // len(given.x)
    target = BoxTarget(table.model, of, None, pick, False, count=count, table=table)  # type: ignore[arg-type]
    runs = Runs(given, target, runtime)
    runs.know({name: values for name, values in (known or {}).items() if name == of})
    return Gradients(runs)


def _cells(gradient: NDArray[np.float32], layer: Layer) -> NDArray[np.bool_]:
    """(R, places): where a layer's gradient is not zero."""
    if layer.map_axes is not None and len(layer.map_axes) == 2 and gradient.ndim == 4:
        other = tuple(a for a in range(1, 4) if a not in layer.map_axes)
        return np.asarray((gradient != 0).any(axis=other).reshape(len(gradient), -1))
    return np.asarray((gradient != 0).any(axis=-1).reshape(len(gradient), -1))


def _spreads(cells: NDArray[np.bool_]) -> bool:
    return int(cells.sum()) >= min(_CELLS, cells.size)
