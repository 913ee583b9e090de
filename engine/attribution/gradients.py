"""Backward passes of one explanation: the score's gradients by values of the model, at the clean and other inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..autodiff import class_cotangent as selection
from ..autodiff.path import Rules
from ..graph.model import Model
from ..inference.batches import ELEMENTS_PULLED, GeneratedRows, in_order, run_generated, run_on_device, values_stay
from ..inference.device_rows import DeviceSums
from ..inference.row_graphs import RowGraph, taken
from ..proto.values import from_info
from ..targets.resolved import ClassTarget, score
from .gradient_graphs import GradientGraph, gradient_graph, rules_key
from .one_forward import OneForward
from .runs import Runs


@dataclass(frozen=True)
class _Choice:
    """The classes that rows are about: codes (R', J), see `ClassTarget`, and weights (R', J)."""

    codes: NDArray[np.int64]
    weights: NDArray[np.float32]


class Gradients:
    """The gradients of the score for the rows of a problem; those at the clean input are kept."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._known: dict[tuple[str, Any], NDArray[np.float32]] = {}

    def by(self, wrt: Sequence[str], rules: Rules = None) -> dict[str, NDArray[np.float32]]:
        """The score's gradient (R, ...) by each of `wrt`, at the clean input; one pass for the answer and all of them.

        Raises GradientError and its subclasses.
        """
        runs, key = self.runs, rules_key(rules)
        missing = [name for name in dict.fromkeys(wrt) if (name, key) not in self._known]
        if missing:
            rows = np.arange(runs.rows)
            inside = [name for name in missing if name != runs.input.name]
            if self.by_one_forward:
                grads, values = self._pull_by_one_forward(missing, rules, inside)
                runs.know(values)
            else:
                choice = self._choice(rows) if runs.y_is_known else self._choice_by_code()
                grads, values = self._pull(missing, runs.x, rows, choice, rules, inside)
                runs.keep(values)
            self._known.update({(name, key): grads[name] for name in missing})
        return {name: self._known[name, key] for name in wrt}

    @property
    def by_one_forward(self) -> bool:
        """Whether all targets of the sample are pulled back from one forward pass: several tokens of one text."""
        runs = self.runs
        if isinstance(runs.target, ClassTarget) or runs.input.reading is None or runs.rows < 2:
            return False
        shape = runs.model.value(runs.input.name).shape
        return len(runs.input.x) == 1 and shape is not None and len(shape) == runs.input.x.ndim

    def _one_forward(self, wrt: Sequence[str], rules: Rules, also: Sequence[str]) -> OneForward:
        runs = self.runs
        graph = self._graph(wrt, rules, also)
        cotangents = runs.cotangents.astype(_dtype(graph.model, graph.cotangent))
        return OneForward(graph, runs.shared, cotangents, runs.options)

    def _pull_by_one_forward(
        self, wrt: Sequence[str], rules: Rules, also: Sequence[str]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
        """Gradients (R, ...) by `wrt` and the explained value and the values `also` (1, ...), at the clean input."""
        runs = self.runs
        values, found = self._one_forward(wrt, rules, also).pull(runs.feeds(runs.input.x), [runs.target.of, *also])
        parts = list(found)
        return {name: np.concatenate([part[name] for part in parts]) for name in wrt}, values

    def generated_by_one_forward(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], NDArray[Any]],
        consume: Callable[[NDArray[np.int64], int, NDArray[np.float32]], None],
    ) -> None:
        """As `generated` for a sample with several targets, each of which has the same inputs (R', ...) for numbers
        (R',). consume: gets numbers, the row of the target, and gradients (R', ...)."""
        runs = self.runs
        runs.note_changes()
        name = runs.input.name

        def inputs(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            return runs.feeds(make(numbers), np.zeros(len(numbers), np.int64))

        def taken(numbers: NDArray[np.int64], row: int, found: dict[str, NDArray[Any]]) -> None:
            consume(numbers, row, found[name])

        self._one_forward([name], None, []).generated(count, inputs, taken)

    def by_classes(
        self, wrt: Sequence[str], classes: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """The gradient (R, ...), by each of `wrt`, of other sums of class scores: `classes` and `weights` (R, J).

        Raises GradientError and its subclasses.
        """
        return self._pull(list(wrt), self.runs.x, np.arange(self.runs.rows), _Choice(classes, weights))[0]

    def at(
        self, x: NDArray[Any], rows: NDArray[np.int64], rules: Rules = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Gradient by the input (R', ...) and score (R',) at inputs x (R', ...), each with the target of its row.

        Raises GradientError and its subclasses.
        """
        name = self.runs.input.name
        grads, values = self._pull([name], x, rows, self._choice(rows), rules)
        return grads[name], score(values[self.runs.target.of], self.runs.cotangents, rows)

    def generated(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.int64]]],
        consume: Callable[[NDArray[np.int64], NDArray[np.float32]], None],
    ) -> None:
        """Gradients by the input at `count` inputs that are made on the way.

        make: inputs (R', ...), and the row (R',) whose target each one has, for numbers (R',); called by several
        threads at once, see `GeneratedRows`. consume: gets numbers and gradients (R', ...), one call at a time, in
        order. Raises GradientError and its subclasses.
        """
        runs = self.runs
        runs.note_changes()
        graph = self._graph([runs.input.name], None, [])
        name = graph.gradients[runs.input.name]
        if runs.classes is None:
            _ = runs.cotangents  # computed now, not by every thread

        def inputs(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            x, rows = make(numbers)
            return self._feeds(graph, x, rows, self._choice(rows))

        def taken(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            consume(numbers, got[name].astype(np.float32, copy=False))

        like = runs.feeds(runs.x[:1], np.zeros(1, np.int64))
        generated = GeneratedRows(count, inputs, like, ELEMENTS_PULLED)
        run_generated(graph.model, generated, in_order(taken), [name], shared=runs.shared, runtime=runs.options)

    def on_device(
        self, wrt: Sequence[str], take: Callable[[NDArray[np.int64], dict[str, Any], Mapping[str, str]], None]
    ) -> bool:
        """One pass for the answer, the values `wrt` and the score's gradients by them, at the clean input, which stay
        on the device; False, with nothing taken, where values are the host's.

        take: gets rows (B,), OrtValues (B or more, ...) by name, and the names of the gradients. The answer becomes
        known to the runs. Raises GradientError and its subclasses.
        """
        runs = self.runs
        if not values_stay(runs.options) or self.by_one_forward:
            return False
        of, names, answers = runs.target.of, list(dict.fromkeys(wrt)), []
        graph = self._graph(names, None, names)
        known = runs.y_is_known
        # As `by` does it: ranks are left to the graph where the answer is not known.
        choice = self._choice(np.arange(runs.rows)) if known else self._choice_by_code()

        def chosen(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            part = None if choice is None else _Choice(choice.codes[rows], choice.weights[rows])
            return self._chosen(graph, rows, part)

        def made() -> RowGraph:
            if choice is None:
                _ = runs.cotangents  # computed now, not by another thread
            fed = _dtype(graph.model, runs.input.name)
            images = taken(runs.input.x, fed, lambda numbers: runs.sample[numbers])
            return runs.fed_by(images, lambda numbers: numbers, chosen)

        def use(numbers: NDArray[np.int64], got: dict[str, Any]) -> None:
            answer = None if known else got[of].numpy()[: len(numbers)]
            take(numbers, got, graph.gradients)
            if answer is not None:
                answers.append(answer)

        like = runs.feeds(runs.x[:1], np.zeros(1, np.int64))
        rows = GeneratedRows(runs.rows, lambda numbers: {}, like, graph=made)
        outputs = list(dict.fromkeys([of, *names, *graph.gradients.values()]))
        done = run_on_device(graph.model, rows, use, outputs, shared=runs.shared, runtime=runs.options)
        if done and answers:
            runs.keep({of: np.concatenate(answers)})
        return done

    def sums_on_device(
        self,
        count: int,
        rows: int,
        graph_for: Callable[[np.dtype[Any]], RowGraph],
        place: Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]],
        squares: bool = False,
    ) -> list[NDArray[np.float64]] | None:
        """Weighted sums (rows, ...) of the gradients by the input at `count` inputs that a graph makes on the device,
        where they stay, and with `squares` the sums of their squares; None where inputs are made on the host.

        graph_for: the graph, for the type that the network is fed. place: for numbers (B,), which sum each one belongs
        to, the row of the problem whose target it has, and its weight, (B,) each. Raises GradientError and its
        subclasses.
        """
        runs = self.runs
        if not values_stay(runs.options):
            return None
        runs.note_changes()
        pulled = self._graph([runs.input.name], None, [])
        name, fed = pulled.gradients[runs.input.name], _dtype(pulled.model, runs.input.name)
        if _dtype_out(pulled.model, name) != np.float32:
            return None

        def choices(of: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            return self._chosen(pulled, of, self._choice(of))

        def graph() -> RowGraph:
            if runs.classes is None:
                _ = runs.cotangents  # computed now, not by another thread
            return runs.fed_by(graph_for(fed), lambda numbers: place(numbers)[1], choices)

        sums = DeviceSums(rows, squares, runs.options.providers)

        def take(numbers: NDArray[np.int64], got: dict[str, Any]) -> None:
            to, _, weights = place(numbers)
            sums.add(got[name], to, weights)

        like = runs.feeds(runs.x[:1], np.zeros(1, np.int64))
        made = GeneratedRows(count, lambda numbers: {}, like, graph=graph)
        done = run_on_device(pulled.model, made, take, [name], shared=runs.shared, runtime=runs.options)
        return sums.fetch() if done else None

    def _choice(self, rows: NDArray[np.int64]) -> _Choice | None:
        """The classes of `rows`, None where the target is not made of classes."""
        target, classes = self.runs.target, self.runs.classes
        if classes is None or not isinstance(target, ClassTarget):
            return None
        return _Choice(classes[rows], target.row_weights(len(self.runs.input.x))[rows])

    def _choice_by_code(self) -> _Choice | None:
        """The same for all rows, ranks left to the graph: no pass is needed to know the most probable classes."""
        target, samples = self.runs.target, len(self.runs.input.x)
        if not isinstance(target, ClassTarget):
            return None
        return _Choice(target.row_codes(samples), target.row_weights(samples))

    def _pull(
        self,
        wrt: Sequence[str],
        x: NDArray[Any],
        rows: NDArray[np.int64],
        choice: _Choice | None,
        rules: Rules = None,
        also: Sequence[str] = (),
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[Any]]]:
        """Gradients by `wrt` and the explained value and the values `also`, at the inputs x of `rows`."""
        of = self.runs.target.of
        graph = self._graph(wrt, rules, also)
        got = self.runs.run(graph.model, self._feeds(graph, x, rows, choice), [of, *also, *graph.gradients.values()])
        found = {name: got[out].astype(np.float32, copy=False) for name, out in graph.gradients.items()}
        return found, {name: got[name] for name in (of, *also)}

    def _graph(self, wrt: Sequence[str], rules: Rules, also: Sequence[str]) -> GradientGraph:
        target = self.runs.target
        axis = target.axis if isinstance(target, ClassTarget) else None
        return gradient_graph(self.runs.model, target.of, tuple(wrt), rules, axis, tuple(also))

    def _feeds(
        self, graph: GradientGraph, x: NDArray[Any], rows: NDArray[np.int64], choice: _Choice | None
    ) -> dict[str, NDArray[Any]]:
        """What a gradient's graph is fed at the inputs x of `rows`."""
        return {**self.runs.feeds(x, rows), **self._chosen(graph, rows, choice)}

    def _chosen(self, graph: GradientGraph, rows: NDArray[np.int64], choice: _Choice | None) -> dict[str, NDArray[Any]]:
        """What says which scores of `rows` a gradient's graph differentiates."""
        if choice is None:
            return {graph.cotangent: self.runs.cotangents[rows].astype(_dtype(graph.model, graph.cotangent))}
        return dict(selection.feeds(choice.codes, choice.weights, _dtype(graph.model, selection.WEIGHTS)))


def _dtype(model: Model, name: str) -> np.dtype[Any]:
    """The type of an input, without asking for the types of the values behind it."""
    dtype = next(v.dtype for v in model.inputs if v.name == name)
    return np.dtype(np.float32) if dtype is None else dtype


def _dtype_out(model: Model, name: str) -> np.dtype[Any] | None:
    """The type of an output that is declared."""
    return next(v.dtype for v in map(from_info, model.untyped.graph.output) if v.name == name)
