"""What occlusion and its relatives share: the drop of the score for every window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MethodError
from ...incremental.runner import HiddenInput, Runner, runner_for
from ...incremental.windows import Hidden, Windows
from ...preprocess.answers import answer_of
from ...targets.resolved import ClassTarget, score

if TYPE_CHECKING:
    from ...attribution.problem import Problem
    from ...inspect.answer import Answer


def most_probable(target: ClassTarget, y: NDArray[Any]) -> NDArray[np.int64]:
    """The most probable class (N,) of each of the values (N, ...)."""
    return np.asarray(target.by_class(y).argmax(axis=1), np.int64)


def probabilities_of(target: ClassTarget, answer: Answer, y: NDArray[Any]) -> NDArray[np.float64]:
    """The probabilities (N, C) that the values (N, ...) of a target stand for."""
    scores = np.asarray(target.by_class(y), np.float64)
    if target.scale == "prob" or (target.scale == "model" and answer.scores == "probabilities"):
        return scores
    if target.scale == "model" and answer.scores == "log-probabilities":
        return np.asarray(np.exp(scores))
    if answer.kind == "classes":
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return np.asarray(1 / (1 + np.exp(-scores)))


def approximation_error(approximate: NDArray[np.float64], exact: NDArray[np.float64], spread: float) -> dict[str, Any]:
    """How far an approximation is from the exact values at the places where both are known: (K, n) each."""
    error = np.abs(approximate - exact)
    result: dict[str, Any] = {
        "checked_places": int(exact.shape[1]),
        "largest_error": float(error.max()),
        "mean_error": float(error.mean()),
        "largest_relative_error": float(error.max() / spread) if spread else 0.0,
    }
    a, b = approximate.reshape(-1), exact.reshape(-1)
    if len(a) > 1 and np.ptp(a) > 0 and np.ptp(b) > 0:
        result["correlation_with_exact"] = float(np.corrcoef(a, b)[0, 1])
    return result


@dataclass(frozen=True)
class Occluder:
    """How windows of a problem's samples are looked at.

    plain: the whole network runs for every window. cap: no more than this part of every map changes, see
    `make_runner`. share: of all windows, those that will be looked at in the end. progress: called with how many more
    windows are done.
    """

    problem: Problem
    plain: bool = False
    cap: float | None = None
    share: float = 1.0
    progress: Callable[[int], None] | None = None

    def score_drops(
        self, number: int, hidden: Hidden, which: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """How far the K scores of a sample fall with every window hidden, or those numbered `which`: (K, n).

        And details: how it was computed (`inference`); where the target is one of several classes, the most probable
        class with each window hidden (`classes`, (n,)) and the probabilities of the K first classes that are explained
        (`probabilities`, (K, n)).
        """
        problem, target = self.problem, self.problem.target
        windows = np.arange(len(hidden.boxes)) if which is None else which
        first = number * target.count
        others, shared = problem.runs.other_inputs(number)
        runner = self._runner(hidden, {**others, **shared})
        scores = np.empty((target.count, len(windows)), np.float64)
        # Of a single score nothing else can become the most probable class.
        several = isinstance(target, ClassTarget) and problem.y.shape[target.axis] > 1
        best = np.empty(len(windows), np.int64)
        shares = np.empty((target.count, len(windows)), np.float32)
        answer = answer_of(problem.source) if several else None
        chosen = problem.runs.classes
        place = np.full(len(hidden.boxes), -1)
        place[windows] = np.arange(len(windows))
        cotangents = problem.cotangents

        def consume(done: NDArray[np.int64], got: Mapping[str, NDArray[Any]]) -> None:
            y = got[target.of]
            for k in range(target.count):
                scores[k, place[done]] = score(y, cotangents, np.full(len(done), first + k))
            if isinstance(target, ClassTarget) and answer is not None and chosen is not None:
                best[place[done]] = most_probable(target, y)
                with np.errstate(invalid="ignore", over="ignore"):
                    found = probabilities_of(target, answer, y)
                for k in range(target.count):
                    shares[k, place[done]] = found[:, chosen[first + k, 0]]

        x = problem.input.x[number : number + 1]
        runner.run(x, hidden, consume, which=windows, others=others, shared=shared, progress=self.progress)
        details: dict[str, Any] = {"inference": runner.plan.reason, "stages": len(runner.plan.stages)}
        if several:
            details["classes"], details["probabilities"] = best, shares
        with np.errstate(invalid="ignore"):  # the explanation says that scores are not finite
            return problem.scores[first : first + target.count, None] - scores, details

    def _runner(self, hidden: Hidden, others: Mapping[str, NDArray[Any]]) -> Runner:
        problem, given = self.problem, self.problem.input
        if given.axes is None:
            raise MethodError(f"the input {given.name!r} is not an image: windows hide parts of images")
        shapes = tuple(sorted((name, array.shape) for name, array in others.items()))
        source = HiddenInput(given.name, given.axes, (1, *given.x.shape[1:]), shapes)
        windows = Windows(hidden.boxes, self.share)
        values = [problem.target.of]
        return runner_for(problem.model, source, values, windows, problem.runtime, plain=self.plain, cap=self.cap)


def boxes_of(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """The smallest boxes (count, 4) around the pixels of every label."""
    y, x = np.nonzero(labels >= 0)
    at = labels[y, x]
    boxes = np.repeat(np.array([[*labels.shape, 0, 0]], np.int64), count, 0)
    for column, places in enumerate((y, x)):
        np.minimum.at(boxes[:, column], at, places)
        np.maximum.at(boxes[:, column + 2], at, places + 1)
    return boxes
