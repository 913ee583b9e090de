"""The layer for a box of a detector: the last map from which both its score and its sides descend.

In front of the head a box is one cell of one map, and its gradient at the head's last map is that of one cell: nothing
to see. Behind the fork of the head into scores and sides a map knows one of them alone. So the layer is the last one at
which both have a slope, in several cells: the neck's output at the box's level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..detection.emit import LOGITS, OBJECTNESS, PREFIX, SIDES
from ..errors import GradientError
from ..inspect.layers import Layer
from ..targets.kinds.box import Box
from ..targets.resolved import FixedTarget
from .gradients import Gradients
from .runs import Runs

if TYPE_CHECKING:
    from .problem import Problem

REASON = "the last map that the box's score and its sides both descend from"
# Cells with a slope that make a map, where the map has more.
_CELLS = 9
# Layers that are looked at in one pass, the last ones first.
_TOGETHER = 12


def is_of_box(problem: Problem) -> bool:
    """Whether the target is a box of a detector."""
    return problem.target.of in (LOGITS, SIDES, OBJECTNESS)


def fork_layers(problem: Problem, fitting: Sequence[Layer]) -> list[Layer]:
    """The layer of every row, each once, of those that class activation mapping fits; empty where there is none.

    Without derivatives: the last layer that both scores and sides depend on.
    """
    model = problem.model
    before = model.ancestors(LOGITS) & model.ancestors(SIDES)
    layers = [layer for layer in fitting if layer.output in before and not layer.output.startswith(PREFIX)]
    missing = set(range(problem.rows))
    found: dict[str, Layer] = {}
    try:
        sides = _sides(problem)
        for end in range(len(layers), 0, -_TOGETHER):
            some = layers[max(0, end - _TOGETHER) : end]
            names = [layer.output for layer in some]
            of_score, of_sides = problem.gradients.by(names), sides.by(names)
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


def _sides(problem: Problem) -> Gradients:
    """The gradients of the sum of each box's four sides."""
    target = problem.target
    assert isinstance(target, FixedTarget)
    rows = [int(row.found.candidate) for row in problem.targets if isinstance(row, Box) and row.found is not None]

    def pick(y: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = np.zeros((len(rows), *y.shape[1:]), np.float32)
        for row, candidate in zip(weights, rows, strict=True):
            # Not the plain sum: what moves a box as a whole would cancel what makes it larger.
            row[candidate] = (1.0, 0.9, 1.1, 0.8)
        return weights.reshape(len(y), -1, *y.shape[1:])

    return Gradients(
        Runs(
            problem.input,
            FixedTarget(target.model, SIDES, target.target, pick, False, count=target.count),
            problem.runtime,
        )
    )


def _cells(gradient: NDArray[np.float32], layer: Layer) -> NDArray[np.bool_]:
    """(R, places): where a layer's gradient is not zero."""
    if layer.map_axes is not None and len(layer.map_axes) == 2 and gradient.ndim == 4:
        other = tuple(a for a in range(1, 4) if a not in layer.map_axes)
        return np.asarray((gradient != 0).any(axis=other).reshape(len(gradient), -1))
    return np.asarray((gradient != 0).any(axis=-1).reshape(len(gradient), -1))


def _spreads(cells: NDArray[np.bool_]) -> bool:
    return int(cells.sum()) >= min(_CELLS, cells.size)
