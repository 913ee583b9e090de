"""One explanation to be made: model, inputs, target, and the work that methods share on it.

Rows: N samples times K targets, sample by sample. A method gets a `Problem` and asks it for scores, activations and
gradients of the rows; what was computed once for one method is there for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autodiff import class_cotangent as selection
from ..autodiff.path import Rules
from ..graph.float_input import with_real_input
from ..graph.model import Model
from ..inference.batches import ELEMENTS_PULLED, RunOptions, in_order, run_batches, run_generated
from ..inspect.signature import class_output
from ..targets.resolved import Place, Resolved, score
from ..targets.target import Target, settled
from .gradient_graphs import GradientGraph, exposed_at, gradient_graph, rules_key
from .inputs import Input


class Problem:
    """See the head of this file.

    Attributes: `model` (with what the target needs added), `input`, `target` (resolved), `layers` (names that the
    user gave), `runtime`, `rows` (N * K), `sample` (R,) the sample of each row.
    """

    def __init__(
        self,
        model: Model,
        input: Input,
        target: Target,
        layers: Sequence[str] = (),
        runtime: RunOptions | None = None,
    ) -> None:
        self.source, self._given = model, input
        if input.x.dtype.kind in "iu":
            model = with_real_input(model, input.name)
            if model is not self.source:
                input = replace(input, x=input.x.astype(np.float32))
        self.input = input
        self.asked = target
        self.target: Resolved = target.resolve(Place(model, input.labels, input.geometries, input.plane))
        self.model = self.target.model
        self.layers = tuple(layers)
        self.runtime = runtime or RunOptions()
        self.rows = len(input.x) * self.target.count
        self.sample = np.repeat(np.arange(len(input.x)), self.target.count)
        self._known: dict[str, NDArray[Any]] = {}
        self._gradients: dict[tuple[str, Hashable], NDArray[np.float32]] = {}

    # --- the clean input ---

    @property
    def x(self) -> NDArray[Any]:
        """(R, ...): the input of every row."""
        return self.input.x if self.target.count == 1 else self.input.x[self.sample]

    @property
    def y(self) -> NDArray[Any]:
        """(N, ...): the value that the target is about, for every sample."""
        return self.activations([self.target.of])[self.target.of]

    @cached_property
    def cotangents(self) -> NDArray[np.float32]:
        """(R, ...): score = sum(y * cotangent)."""
        return self.target.cotangents(self.y)

    @cached_property
    def classes(self) -> NDArray[np.int64] | None:
        """(R, J): the classes that the target stands for, None where it is not made of classes."""
        return None if self.target.classes is None else self.target.chosen(self.y)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(R,): the explained number of every row."""
        return score(self.y if self.target.count == 1 else self.y[self.sample], self.cotangents)

    @cached_property
    def targets(self) -> list[Target]:
        """The target of every row, with the chosen classes filled in."""
        return settled(self.target, self.y, self.input.labels)

    def activations(self, values: Iterable[str]) -> dict[str, NDArray[Any]]:
        """(N, ...) for each of `values`, at the clean input."""
        wanted = list(dict.fromkeys(values))
        missing = [name for name in wanted if name not in self._known]
        if missing:
            names = missing if self.target.of in self._known else list(dict.fromkeys([*missing, self.target.of]))
            exposed = exposed_at(self.model, tuple(names))
            self._known.update(self._run(exposed, self._inputs(self.input.x), names))
        return {name: self._known[name] for name in wanted}

    def gradients(self, wrt: Sequence[str], rules: Rules = None) -> dict[str, NDArray[np.float32]]:
        """The score's gradient (R, ...) by each of `wrt`, at the clean input; one pass for the answer and all of them.

        Raises GradientError and its subclasses.
        """
        key = rules_key(rules)
        missing = [name for name in dict.fromkeys(wrt) if (name, key) not in self._gradients]
        if missing:
            codes = None
            if self.target.classes is not None:
                codes = (
                    self.classes if self.target.of in self._known else self.target.classes.row_codes(len(self.input.x))
                )
            inside = [name for name in missing if name != self.input.name]
            grads, values = self._pull(self.x, np.arange(self.rows), missing, rules, codes, inside)
            if self.target.count == 1:
                self._known.update(values)
            else:
                self._known.update({name: array[:: self.target.count] for name, array in values.items()})
            self._gradients.update({(name, key): grads[name] for name in missing})
        return {name: self._gradients[name, key] for name in wrt}

    def class_gradients(
        self, wrt: Sequence[str], classes: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """The gradient (R, ...), by each of `wrt`, of other sums of class scores: `classes` and `weights` (R, J)."""
        rows = np.arange(self.rows)
        return self._pull(self.x, rows, list(wrt), None, classes, [], weights)[0]

    def before_softmax(self) -> Problem:
        """The same for the scores before the softmax, where the model's output holds probabilities of classes."""
        classes = self.target.classes
        if classes is None or classes.scale != "model" or class_output(self.source).scores == "logits":
            return self
        return Problem(self.source, self._given, Target.logit(self.asked), self.layers, self.runtime)

    def on(self, model: Model) -> Problem:
        """The same question to another form of the model, in which all values have their names and meanings."""
        return self if model is self.source else Problem(model, self._given, self.asked, self.layers, self.runtime)

    # --- other inputs ---

    def scores_at(self, x: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score (R',) of inputs x (R', ...), each with the target of its row `rows` (R',)."""
        exposed = exposed_at(self.model, (self.target.of,))
        y = self._run(exposed, self._inputs(x, rows), [self.target.of])[self.target.of]
        return score(y, self.cotangents, rows)

    def scores_generated(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], NDArray[Any]],
        sample: int,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """The scores (count, K) of `count` forms of one sample, for each of its K targets.

        make: the inputs (R', ...) for numbers (R',); called by several threads at once, see `run_generated`.
        progress: called with how many more are done.
        """
        exposed, first = exposed_at(self.model, (self.target.of,)), sample * self.target.count
        cotangents, rows = self.cotangents, range(first, first + self.target.count)
        result = np.empty((count, self.target.count), np.float64)

        def inputs(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            return self._inputs(make(numbers), np.full(len(numbers), first))

        def consume(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            for k, row in enumerate(rows):
                result[numbers, k] = score(got[self.target.of], cotangents, np.full(len(numbers), row))
            if progress is not None:
                progress(len(numbers))

        like = self._inputs(self.input.x[sample : sample + 1], np.array([first]))
        run_generated(
            exposed, count, inputs, consume, [self.target.of], like, shared=self._shared, runtime=self.runtime
        )
        return result

    def gradients_at(
        self, x: NDArray[Any], rows: NDArray[np.int64], rules: Rules = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Gradient by the input (R', ...) and score (R',) at inputs x (R', ...), each with the target of its row."""
        grads, values = self._pull(
            x, rows, [self.input.name], rules, None if self.classes is None else self.classes[rows], []
        )
        return grads[self.input.name], score(values[self.target.of], self.cotangents, rows)

    def gradients_made(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.int64]]],
        consume: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    ) -> None:
        """Gradients by the input at `count` inputs that are made on the way.

        make: inputs (R', ...), and the row (R',) whose target each one has, for numbers (R',); called by several
        threads at once, see `rows.run_generated`. consume: gets numbers and gradients (R', ...), one call at a time, in
        order.
        """
        graph, classes = self._graph([self.input.name], None, []), self.classes
        name = graph.gradients[self.input.name]
        if classes is None:
            _ = self.cotangents  # computed now, not by every thread

        def inputs(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            x, rows = make(numbers)
            return self._pulling(graph, x, rows, None if classes is None else classes[rows])

        def taken(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            consume(numbers, got[name].astype(np.float32, copy=False))

        like = self._inputs(self.x[:1], np.zeros(1, np.int64))
        shared, runtime = self._shared, self.runtime
        run_generated(
            graph.model,
            count,
            inputs,
            in_order(taken),
            [name],
            like,
            shared=shared,
            runtime=runtime,
            elements=ELEMENTS_PULLED,
        )

    def _inputs(self, x: NDArray[Any], rows: NDArray[np.int64] | None = None) -> dict[str, NDArray[Any]]:
        """Feeds of the inputs that have a row for every sample, the explained one among them."""
        sample = np.arange(len(x)) if rows is None else self.sample[rows]
        feeds = {self.input.name: x}
        for name, array in self.input.others.items():
            if self._by_sample(name):
                feeds[name] = array[sample]
        return feeds

    def beside(self, sample: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """What the other inputs are fed with a sample: its rows (1, ...), and what is the same for all samples."""
        others = self.input.others
        rows = {name: array[sample : sample + 1] for name, array in others.items() if self._by_sample(name)}
        return rows, {name: array for name, array in others.items() if name not in rows}

    def _by_sample(self, name: str) -> bool:
        array = self.input.others[name]
        declared = self.model.value(name).shape
        fixed = declared is not None and declared and declared[0] == 1 and len(self.input.x) == 1
        explained = self.model.value(self.input.name).shape
        dynamic = explained is None or not explained or not isinstance(explained[0], int)
        return bool(array.ndim and array.shape[0] == len(self.input.x) and not (fixed and dynamic))

    @property
    def _shared(self) -> dict[str, NDArray[Any]]:
        """Feeds of the inputs that are the same for every row."""
        return {name: array for name, array in self.input.others.items() if not self._by_sample(name)}

    def _run(self, model: Model, rows: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        return run_batches(model, rows, outputs, shared=self._shared, runtime=self.runtime)

    def _pull(
        self,
        x: NDArray[Any],
        rows: NDArray[np.int64],
        wrt: Sequence[str],
        rules: Rules,
        codes: NDArray[np.int64] | None,
        also: Sequence[str],
        weights: NDArray[np.float32] | None = None,
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
        """Gradients by `wrt` and the values `of` and `also`, at the inputs x of `rows`."""
        of = self.target.of
        graph = self._graph(wrt, rules, also)
        feeds = self._pulling(graph, x, rows, codes, weights)
        names = [of, *also, *graph.gradients.values()]
        got = self._run(graph.model, feeds, names)
        found = {name: got[out].astype(np.float32, copy=False) for name, out in graph.gradients.items()}
        return found, {name: got[name] for name in (of, *also)}

    def _graph(self, wrt: Sequence[str], rules: Rules, also: Sequence[str]) -> GradientGraph:
        classes = self.target.classes
        axis = None if classes is None else classes.axis
        return gradient_graph(self.model, self.target.of, tuple(wrt), rules, axis, tuple(also))

    def _pulling(
        self,
        graph: GradientGraph,
        x: NDArray[Any],
        rows: NDArray[np.int64],
        codes: NDArray[np.int64] | None,
        weights: NDArray[np.float32] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """What a gradient's graph is fed at the inputs x of `rows`."""
        feeds, classes = self._inputs(x, rows), self.target.classes
        if classes is not None:
            assert codes is not None
            weights = classes.row_weights(len(self.input.x))[rows] if weights is None else weights
            feeds.update(selection.feeds(codes, weights, _dtype(graph.model, selection.WEIGHTS)))
        else:
            feeds[graph.cotangent] = self.cotangents[rows].astype(_dtype(graph.model, graph.cotangent))
        return feeds


def _dtype(model: Model, name: str) -> np.dtype[Any]:
    dtype = next(v.dtype for v in model.inputs if v.name == name)
    return np.dtype(np.float32) if dtype is None else dtype
