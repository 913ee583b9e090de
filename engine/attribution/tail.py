"""The part of a network behind a value, run on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Disconnected
from ..graph.dependencies import between
from ..graph.split import expose, extract
from ..inference.batches import GeneratedRows, run_batches, run_on_device
from ..inference.row_graphs import RowGraph
from ..proto.nodes import reads
from ..targets.resolved import score

if TYPE_CHECKING:
    from .problem import Problem


class Tail:
    """What lies behind a value: scores of maps put in its place.

    Values that go around it (skip connections, other inputs) keep their clean values.
    """

    def __init__(self, problem: Problem, value: str) -> None:
        self.problem, self.value = problem, value
        model, of = problem.model, problem.target.of
        inner = between(model, value, of)
        if not inner:
            raise Disconnected(f"{of!r} does not depend on {value!r}: choose a layer before it")
        made = {name for node in inner for name in node.output}
        fed = {v.name for v in model.graph.input} - {v.name for v in model.inputs}
        names = dict.fromkeys(name for node in inner for name in reads(node))
        self.sides = [n for n in names if n not in made and n != value and n not in model.initializers and n not in fed]
        infos = {v.name: v for v in expose(model, [of, value, *self.sides], only=True).graph.output}
        self.model = extract(model, outputs=[infos[of]], inputs=[infos[name] for name in (value, *self.sides)])
        self._clean = problem.runs.activations([n for n in self.sides if n != problem.input.name])
        self._clean[problem.input.name] = problem.input.x

    def scores(self, maps: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score (R',) with `maps` (R', ...) as the value, each with target and sample of its row `rows` (R',)."""
        problem, of = self.problem, self.problem.target.of
        problem.runs.note_changes()
        sample = problem.sample[rows]
        feeds = {self.value: maps, **{name: self._clean[name][sample] for name in self.sides}}
        runtime = problem.runtime
        if any(self._clean[name].dtype.kind in "iu" and self._clean[name].ndim <= 2 for name in self.sides):
            # Shapes computed from the input hold the batch they were computed with: one sample.
            runtime = replace(runtime, batch=1)
        y = run_batches(self.model, feeds, [of], runtime=runtime)[of]
        return score(y, problem.cotangents, rows)

    def scores_there(self, count: int, row: int, graph: Callable[[], RowGraph], scores: NDArray[np.float64]) -> bool:
        """Fill in the scores (count,) with what `graph` makes on a device as the value, for the target and sample of a
        row; False where there is no such device or other values have no row for every variant."""
        problem, of = self.problem, self.problem.target.of
        sides = {name: self._clean[name][problem.sample[row]] for name in self.sides}
        if any(self._clean[name].dtype.kind in "iu" and self._clean[name].ndim <= 2 for name in sides):
            return False

        def made() -> RowGraph:
            return replace(graph(), feeds=self.value, others=lambda numbers: _repeated(sides, len(numbers)))

        def take(numbers: NDArray[np.int64], got: dict[str, Any]) -> None:
            y = got[of].numpy()[: len(numbers)]
            scores[numbers] = score(y, problem.cotangents, np.full(len(numbers), row))

        like = {self.value: problem.runs.activations([self.value])[self.value][:1]}
        rows = GeneratedRows(count, lambda numbers: {}, like, graph=made)
        problem.runs.note_changes()
        return run_on_device(self.model, rows, take, [of], runtime=problem.runtime)


def _repeated(arrays: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
    return {name: np.repeat(array[None], count, 0) for name, array in arrays.items()}
