"""One map of one image by one method, and what metrics may ask about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...kernels.upsample import upsample
from ..attribution.baselines import baseline
from ..attribution.explanation import Explanation
from ..attribution.problem import Problem
from ..errors import MethodError
from ..graph.model import Model
from ..inference.row_graphs import RowGraph, parts_of_value
from ..preprocess.answers import answer_of
from ..targets.resolved import ClassTarget
from ..targets.target import Target
from .localisation import energy

Rows = Callable[[NDArray[np.int64]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class HiddenRows:
    """`Rows` with what makes the same inputs on a device."""

    make: Rows
    graph: Callable[[], RowGraph]

    def __call__(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        return self.make(numbers)


class Asker(Protocol):
    """Poses a question anew: of another image, another target or another model."""

    def __call__(self, image: Any = None, target: Target | None = None, model: Model | None = None) -> Problem: ...


@dataclass(frozen=True, eq=False)
class Case:
    """One map of one image by one method.

    problem: one sample, one target. explanation: its map. explain: the same method on another problem, with a seed
    where one is given. ask: the same question about something else. mask: bool (H, W), the object's pixels on the
    original image, None where they are not known. others: maps of the same image by other methods. seed: of what is
    drawn at random. pixels: the original image, where it is one.
    """

    problem: Problem
    explanation: Explanation
    explain: Callable[[Problem, int | None], Explanation] | None = None
    ask: Asker | None = None
    mask: NDArray[np.bool_] | None = None
    others: Mapping[str, Explanation] = field(default_factory=dict)
    seed: int = 0
    pixels: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.problem.rows != 1:
            raise MethodError(f"a metric judges one map at a time, not {self.problem.rows}: name one target")
        if self.problem.input.plane is None or self.explanation.map is None:
            raise MethodError("metrics judge maps of images, and the input is none")

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of the model's input."""
        plane = self.problem.input.plane
        assert plane is not None
        return plane

    @cached_property
    def relevance(self) -> NDArray[np.float64]:
        """(H, W) on the model's input, with sign: what speaks for the target is positive. Maps of sensitivity, whose
        sign is that of a direction, are taken by their magnitude.
        """
        return relevance_of(self.explanation, self.plane)

    @cached_property
    def heat(self) -> NDArray[np.float64]:
        """(H, W) on the model's input, without sign: what is below 0 counts as none in maps that are shown as positive,
        else as much as what is above.
        """
        values = self.relevance
        return np.maximum(values, 0) if self.explanation.display == "positive" else np.abs(values)

    @cached_property
    def falling(self) -> NDArray[np.int64]:
        """(H * W,): the pixels from the most relevant to the least; of equals, the first in reading order first."""
        return np.argsort(-self.relevance.ravel(), kind="stable")

    def fill(self, kind: str | float) -> NDArray[Any]:
        """What stands in for hidden pixels, in the shape of the sample."""
        return np.asarray(baseline(self.problem, kind, self.seed)[0])

    @property
    def sample(self) -> NDArray[Any]:
        """The input that is explained, without its batch axis."""
        return np.asarray(self.problem.input.x[0])

    def over_plane(self, mask: NDArray[Any]) -> NDArray[Any]:
        """(R, H, W) on the model's input -> (R, ...), which broadcasts to R samples."""
        axes = self.problem.input.axes
        assert axes is not None
        shape = [size if axis in axes else 1 for axis, size in enumerate(self.problem.input.x.shape)]
        return mask.reshape(len(mask), *shape[1:])

    def hidden(self, masks: Callable[[NDArray[np.int64]], NDArray[np.bool_]], fill: NDArray[Any]) -> Rows:
        """Inputs (R, ...) for numbers (R,), in which what `masks` (R, H, W) holds is taken from `fill`."""
        x = self.sample

        def make(numbers: NDArray[np.int64]) -> NDArray[Any]:
            return np.where(self.over_plane(masks(numbers)), fill, x).astype(x.dtype, copy=False)

        def seen(numbers: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray(~self.over_plane(masks(numbers)))

        def there() -> RowGraph:
            return parts_of_value(x[None], seen, np.asarray(fill, x.dtype)[None])

        return HiddenRows(make, there)

    # --- what the model answers ---

    def scores(self, count: int, rows: Rows) -> NDArray[np.float64]:
        """(count,): the explained score of inputs that `rows` makes."""
        return self.problem.runs.scores_generated(count, rows, 0, graph=_graph_of(rows))[:, 0]

    def probabilities(self, count: int, rows: Rows) -> NDArray[np.float64]:
        """(count,): the probability of the explained class; the score itself where the target is not one class."""
        return self.certain.runs.scores_generated(count, rows, 0, graph=_graph_of(rows))[:, 0]

    @cached_property
    def certain(self) -> Problem:
        """The problem whose score is the probability of the explained class."""
        return certainty_of(self.problem)

    @property
    def score(self) -> float:
        """The explained score of the input as it is."""
        return float(self.problem.scores[0])

    @property
    def probability(self) -> float:
        """The probability of the explained class, or the score."""
        return float(self.certain.scores[0])

    @property
    def object_mask(self) -> NDArray[np.bool_]:
        """bool (H, W) on the original image. Raises MethodError where it is not known."""
        if self.mask is None:
            raise MethodError("there is no mask of the object for this image")
        return self.mask

    @cached_property
    def image_heat(self) -> NDArray[np.float64]:
        """The heat on the pixels of the original image, without sign, (H, W)."""
        return np.asarray(energy(self.explanation), np.float64)

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    # --- the same question about something else ---

    def again(
        self, image: Any = None, target: Target | None = None, model: Model | None = None, seed: int | None = None
    ) -> Explanation:
        """The same method on another image, another target or another model. Raises MethodError where it cannot be."""
        if self.explain is None or self.ask is None:
            raise MethodError("the map was given without its method: it cannot be made anew")
        return self.explain(self.ask(image, target, model), seed)

    def relevance_again(
        self, image: Any = None, target: Target | None = None, model: Model | None = None, seed: int | None = None
    ) -> NDArray[np.float64]:
        """(H, W): the relevance of `again`."""
        return relevance_of(self.again(image, target, model, seed), self.plane)


def _graph_of(rows: Rows) -> Callable[[], RowGraph] | None:
    return rows.graph if isinstance(rows, HiddenRows) else None


def relevance_of(explanation: Explanation, plane: tuple[int, int]) -> NDArray[np.float64]:
    """A map on the model's input (H, W), with its sign; of maps of sensitivity the magnitude.

    Raises MethodError for a map of values that are not finite.
    """
    values = explanation.map
    if values is None:
        raise MethodError(f"the map of {explanation.method} lies over no image")
    if not np.isfinite(values).all():
        raise MethodError(f"the map of {explanation.method} has values that are not finite")
    values = values if values.shape == plane else upsample(values, plane)
    found = np.asarray(values, np.float64)
    return np.abs(found) if explanation.reduce == "max-abs" else found


def certainty_of(problem: Problem) -> Problem:
    """The same question about the probability of the class; the question itself where its target is not one class."""
    index = problem.targets[0].class_index if isinstance(problem.target, ClassTarget) else None
    if index is None or not answer_of(problem.source).has_classes:
        return problem
    return problem.asking(Target.probability(index))
