"""Explanations of the inputs of a set, made one by one, as one explanation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .explanation import Explanation
from .explanations import Explanations
from .inputs import underneath
from .problem import Problem
from .sets import next_to_each_other


def together(problem: Problem, singles: Sequence[Explanation | Explanations]) -> Explanation | Explanations:
    """One explanation of all inputs for every row: `singles` are those of each input alone, in order."""
    found = [
        _one(problem, int(problem.sample[row]), list(parts)) for row, parts in enumerate(zip(*singles, strict=True))
    ]
    return found[0] if len(found) == 1 else Explanations(found)


def _one(problem: Problem, sample: int, parts: list[Explanation]) -> Explanation:
    images = problem.input.layout is not None
    axis = problem.input.part_axis - 1 if parts[0].values.ndim == problem.input.x.ndim - 1 else parts[0].values.ndim - 1
    values = _joined([p.values for p in parts], axis)
    arrays = [p.values for p in parts]
    if values is None:  # cells of several sizes
        arrays, axis = [p.heatmap for p in parts], 1
        values = next_to_each_other(arrays, axis)
    shapes = tuple(a.shape for a in arrays)
    return replace(
        parts[0],
        values=values,
        layer=_listed([p.layer for p in parts]),
        reason=_listed([p.reason for p in parts]),
        warnings=tuple(dict.fromkeys([*(text for p in parts for text in p.warnings), *problem.input.notes])),
        size=problem.input.plane,
        map=next_to_each_other([p.heatmap for p in parts], 1) if images else values.reshape(1, -1),
        channels=None,
        geometry=None if problem.input.geometries is None else problem.input.geometries[sample],
        details={key: about for key, about in parts[0].details.items() if not isinstance(about, np.ndarray)},
        underneath=underneath(problem.source, problem.input, sample),
        model=problem.source,
        inputs=tuple(name for name, _ in problem.input.parts),
        split=tuple(shape[axis] for shape in shapes),
        split_axis=axis,
        part_shapes=shapes if len(set(shapes)) > 1 else (),
        extent=None,
    )


def _joined(values: list[NDArray[np.float32]], axis: int) -> NDArray[np.float32] | None:
    """The values of all inputs along an axis; None where their other sizes differ."""
    if len({(v.ndim, *v.shape[:axis], *v.shape[axis + 1 :]) for v in values}) > 1:
        return None
    return np.concatenate(values, axis=axis)


def _listed(texts: list[str | None]) -> str | None:
    named = list(dict.fromkeys(text for text in texts if text is not None))
    return ", ".join(named) or None
