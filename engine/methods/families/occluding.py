"""What occlusion and its relatives share: the drop of the score for every window, runners kept from image to image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...caches import Kept
from ...incremental.runner import Hidden, Incremental, incremental
from ...targets.resolved import Classes, score

if TYPE_CHECKING:
    from ...attribution.problem import Problem


def most_probable(classes: Classes, y: NDArray[Any]) -> NDArray[np.int64]:
    """The most probable class (N,) of each of the values (N, ...)."""
    scores = np.moveaxis(y, classes.axis, -1).reshape(len(y), -1, y.shape[classes.axis])[:, 0]
    return np.asarray(scores.argmax(axis=1), np.int64)


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


def score_drops(
    problem: Problem,
    number: int,
    hidden: Hidden,
    plain: bool = False,
    cap: float | None = None,
    which: NDArray[np.int64] | None = None,
    share: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """How far the K scores of a sample fall with every window hidden, or those numbered `which`: (K, n).

    And details: how it was computed (`inference`), and the most probable class with each window hidden (`classes`,
    (n,)) where the target is one of several classes. share: of all windows, those that will be looked at in the end.
    told: how many more windows are done.
    """
    which = np.arange(len(hidden.boxes)) if which is None else which
    count = problem.target.count
    of, first = problem.target.of, number * count
    given = problem.input
    axes = given.axes
    assert axes is not None
    others, shared = problem.beside(number)
    x = given.x[number : number + 1]
    ready = runner_for(problem, axes, x.shape, hidden.boxes, {**others, **shared}, plain, cap, share)
    scores = np.empty((count, len(which)), np.float64)
    classes = problem.target.classes
    if classes is not None and problem.y.shape[classes.axis] < 2:
        classes = None  # a single score: nothing else can become the most probable class
    most = np.empty(len(which), np.int64) if classes is not None else None
    place = np.full(len(hidden.boxes), -1)
    place[which] = np.arange(len(which))
    cotangents = problem.cotangents

    def consume(windows: NDArray[np.int64], got: Mapping[str, NDArray[Any]]) -> None:
        y = got[of]
        for k in range(count):
            scores[k, place[windows]] = score(y, cotangents, np.full(len(windows), first + k))
        if most is not None and classes is not None:
            most[place[windows]] = most_probable(classes, y)

    ready.run(x, hidden, consume, which=which, others=others, shared=shared, progress=progress)
    details: dict[str, Any] = {"inference": ready.plan.reason, "stages": len(ready.plan.stages)}
    if most is not None:
        details["classes"] = most
    return problem.scores[first : first + count, None] - scores, details


# Models made ready for windows, for the next image of the same size. Those with stages hold sessions.
runners = Kept[tuple[Any, ...], Incremental](8, heavy=lambda ready: bool(ready.plan.stages), most_heavy=2)


def runner_for(
    problem: Problem,
    axes: tuple[int, int],
    shape: tuple[int, ...],
    boxes: NDArray[np.int64],
    others: Mapping[str, NDArray[Any]],
    plain: bool,
    cap: float | None,
    share: float,
) -> Incremental:
    runtime, model = problem.runtime, problem.model
    shapes = {name: array.shape for name, array in others.items()}
    key = (
        *(model.content_key, problem.target.of, problem.input.name, axes, shape, boxes.tobytes(), plain, cap, share),
        *(tuple(sorted(shapes.items())), runtime.providers, runtime.threads, runtime.batch),
    )
    return runners.get(
        key,
        lambda: incremental(
            *(model, problem.input.name, axes, [problem.target.of], shape, boxes),
            shapes=shapes,
            runtime=runtime,
            plain=plain,
            cap=cap,
            share=share,
        ),
    )


def boxes_of(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """The smallest boxes (count, 4) around the pixels of every label."""
    y, x = np.nonzero(labels >= 0)
    at = labels[y, x]
    boxes = np.repeat(np.array([[*labels.shape, 0, 0]], np.int64), count, 0)
    for column, places in enumerate((y, x)):
        np.minimum.at(boxes[:, column], at, places)
        np.maximum.at(boxes[:, column + 2], at, places + 1)
    return boxes
