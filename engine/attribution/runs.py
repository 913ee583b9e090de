"""Forward passes of one explanation: values at the clean input, and scores at other inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..graph.model import Model
from ..inference.batches import GeneratedRows, RunOptions, run_batches, run_generated
from ..inference.row_graphs import RowGraph
from ..targets.resolved import ClassTarget, FixedTarget, Resolved, score
from .gradient_graphs import exposed_at
from .inputs import Input


class Runs:
    """Runs of the model for the rows of a problem; what was computed once is kept.

    Attributes: `model` (with what the target needs added), `input`, `target`, `options`, `rows` (R, the number of
    samples times K targets), `sample` (R,) the sample of each row.
    """

    def __init__(self, input: Input, target: Resolved, options: RunOptions) -> None:
        self.model, self.input, self.target, self.options = target.model, input, target, options
        if not input.x.ndim:
            raise ShapeError(f"the input {input.name!r} is one number without axes: there are no samples to explain")
        self.rows = len(input.x) * target.count
        self.sample = np.repeat(np.arange(len(input.x)), target.count)
        self._known: dict[str, NDArray[Any]] = {}

    # --- at the clean input ---

    @property
    def x(self) -> NDArray[Any]:
        """(R, ...): the input of every row."""
        return self.input.x if self.target.count == 1 else self.input.x[self.sample]

    @property
    def y(self) -> NDArray[Any]:
        """(N, ...): the value that the target is about, for every sample."""
        return self.activations([self.target.of])[self.target.of]

    @property
    def y_is_known(self) -> bool:
        """Whether `y` has been computed already."""
        return self.target.of in self._known

    @cached_property
    def cotangents(self) -> NDArray[np.float32]:
        """(R, ...): score = sum(y * cotangent). Raises TargetError."""
        return self.target.cotangents(self.y)

    @cached_property
    def classes(self) -> NDArray[np.int64] | None:
        """(R, J): the classes that the target stands for, None where it is not made of classes. Raises TargetError."""
        return self.target.chosen(self.y) if isinstance(self.target, ClassTarget) else None

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(R,): the explained number of every row."""
        return score(self.y if self.target.count == 1 else self.y[self.sample], self.cotangents)

    def activations(self, values: Iterable[str]) -> dict[str, NDArray[Any]]:
        """(N, ...) for each of `values`, at the clean input."""
        wanted = list(dict.fromkeys(values))
        missing = [name for name in wanted if name not in self._known]
        if missing:
            names = missing if self.y_is_known else list(dict.fromkeys([*missing, self.target.of]))
            exposed = exposed_at(self.model, tuple(names))
            self._known.update(self.run(exposed, self.feeds(self.input.x), names))
        return {name: self._known[name] for name in wanted}

    def keep(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Values (R, ...) at the clean input that another pass has computed."""
        self._known.update({name: array[:: self.target.count] for name, array in values.items()})

    def know(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Values (N, ...) at the clean input that were computed before."""
        self._known.update(values)

    # --- at other inputs ---

    def note_changes(self) -> None:
        """Say what scores at other inputs mean, where the target is not the same thing there."""
        if isinstance(self.target, FixedTarget) and self.target.elsewhere and self.options.on_notice is not None:
            self.options.on_notice(self.target.elsewhere)

    def scores_at(self, x: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score (R',) of inputs x (R', ...), each with the target of its row `rows` (R',)."""
        self.note_changes()
        exposed = exposed_at(self.model, (self.target.of,))
        y = self.run(exposed, self.feeds(x, rows), [self.target.of])[self.target.of]
        return score(y, self.cotangents, rows)

    def scores_generated(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], NDArray[Any] | dict[str, NDArray[Any]]],
        sample: int,
        progress: Callable[[int], None] | None = None,
        graph: Callable[[], RowGraph] | None = None,
    ) -> NDArray[np.float64]:
        """The scores (count, K) of `count` forms of one sample, for each of its K targets.

        make: the inputs (R', ...) for numbers (R',), or feeds by name where other inputs change as well; called by
        several threads at once, see `GeneratedRows`. graph: gives what makes the
        same inputs on a device.
        progress: called with how many more are done.
        """
        self.note_changes()
        of, first = self.target.of, sample * self.target.count
        cotangents, rows = self.cotangents, range(first, first + self.target.count)
        result = np.empty((count, self.target.count), np.float64)

        def consume(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            for k, row in enumerate(rows):
                result[numbers, k] = score(got[of], cotangents, np.full(len(numbers), row))
            if progress is not None:
                progress(len(numbers))

        self.values_generated(count, make, sample, [of], consume, graph)
        return result

    def values_generated(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], NDArray[Any] | dict[str, NDArray[Any]]],
        sample: int,
        values: Sequence[str],
        consume: Callable[[NDArray[np.int64], dict[str, NDArray[Any]]], None],
        graph: Callable[[], RowGraph] | None = None,
    ) -> None:
        """Values of the model for `count` forms of one sample; `make` and `graph` as in `scores_generated`.

        consume: gets numbers (R',) and the values (R', ...) by name, one call at a time, in any order.
        """
        first = sample * self.target.count

        def inputs(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            made = make(numbers)
            return made if isinstance(made, dict) else self.feeds(made, np.full(len(numbers), first))

        like = self.feeds(self.input.x[sample : sample + 1], np.array([first]))

        def made_there() -> RowGraph:
            assert graph is not None
            return self.fed_by(graph(), lambda numbers: np.full(len(numbers), first))

        generated = GeneratedRows(count, inputs, like, graph=None if graph is None else made_there)
        exposed = exposed_at(self.model, tuple(values))
        run_generated(exposed, generated, consume, list(values), shared=self.shared, runtime=self.options)

    # --- feeds ---

    def run(self, model: Model, rows: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Outputs (R', ...) of a part of the model for `rows`, with what the inputs shared by all rows are fed."""
        # A value may be asked for twice: as what is explained and as the layer.
        return run_batches(model, rows, list(dict.fromkeys(outputs)), shared=self.shared, runtime=self.options)

    def feeds(self, x: NDArray[Any], rows: NDArray[np.int64] | None = None) -> dict[str, NDArray[Any]]:
        """Feeds of the inputs that have a row for every sample, the explained one among them.

        x: (R', ...) of the samples of `rows` (R',), or (N, ...) of all samples.
        """
        sample = np.arange(len(x)) if rows is None else self.sample[rows]
        feeds = {self.input.name: x}
        for name, array in self.input.others.items():
            if self._by_sample(name):
                feeds[name] = array[sample]
        return feeds

    def fed_by(
        self,
        graph: RowGraph,
        rows_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
        more: Callable[[NDArray[np.int64]], Mapping[str, NDArray[Any]]] | None = None,
    ) -> RowGraph:
        """`graph` as what makes the explained input.

        rows_of: the row of the problem that each number is about, whose sample's other inputs are fed; more: what is
        fed for these rows besides.
        """

        def others(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            rows = rows_of(numbers)
            alike = {n: a[self.sample[rows]] for n, a in self.input.others.items() if self._by_sample(n)}
            return alike if more is None else {**alike, **more(rows)}

        return replace(graph, feeds=self.input.name, others=others)

    @property
    def shared(self) -> dict[str, NDArray[Any]]:
        """Feeds of the inputs that are the same for every row."""
        return self.input.split_others(self.model)[1]

    def other_inputs(self, sample: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """What the other inputs are fed with a sample: its rows (1, ...), and what is the same for all samples."""
        alike, shared = self.input.split_others(self.model)
        return {name: array[sample : sample + 1] for name, array in alike.items()}, shared

    def _by_sample(self, name: str) -> bool:
        return self.input.by_sample(self.model, name)
