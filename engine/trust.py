"""`trust`: a few quick checks of one map, and how far another version of the model has moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .activations import activations
from .attribution.explanation import Explanation
from .attribution.inputs import CARD_OPTIONS
from .attribution.problem import Problem
from .errors import GradientError, MethodError, TargetError, UnknownName
from .evaluate.case import Case, relevance_of
from .evaluate.trust import Against, Trust, checks_of, likeness
from .evaluation import remaking
from .explain import RUN_OPTIONS, USUAL_METHOD, problem_of, solve
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .inspect.layers import Layer, find_layer, layer_names
from .load import load
from .methods.registry import Method, make
from .preprocess.card import Card
from .survey.measure import health_layers
from .survey.units import CLASSES
from .targets.target import Target

# The methods whose map a map is compared with: the first of another family that fits.
_SECOND = ("lrp", "grad-cam", "recipro-cam", "integrated-gradients")
# What onnxruntime's quantiser adds to the names of layers.
_SUFFIXES = ("", "_quant")


def trust(
    model: Source,
    image: ArrayLike | Mapping[str, ArrayLike],
    method: str | Method | type[Method] | None = None,
    target: Any = None,
    layer: str | Layer | Sequence[str | Layer] | None = None,
    *,
    against: Source | None = None,
    **options: Any,
) -> Trust:
    """Check whether one map can be trusted.

    model, image, method, target, layer, options: one image and one target, as `onnxray.explain` takes them. against:
        another version of the model, such as a quantised one: its answer, its map and the values of its layers, each
        prepared as its own card says, are compared with this model's.

    Returns a `Trust`: `light` ("green", "yellow", "red", or "gray" where nothing is known), `verdict`, `checks` of the
    values, the method under random weights (Adebayo et al., 2018), deletion (the score without the hottest 10 % of the
    pixels against the same shape at 8 random places), completeness, agreement with a method of another family and a
    shift by one pixel; `print` shows a line of each. No check proves a map right.

    Raises MethodError (no image, several targets), and what `onnxray.explain` raises.
    """
    fields = {name: options.pop(name) for name in CARD_OPTIONS if name in options}
    running = {name: options.pop(name) for name in RUN_OPTIONS if name in options}
    known = ("method", "target", "layer", "against", *CARD_OPTIONS, *RUN_OPTIONS)
    chosen = make(method or USUAL_METHOD, options, known)
    other = None if against is None else load(against, **fields)
    runtime = RunOptions(**running)
    ready = load(model, **fields)
    layers = tuple(layer_names(layer))
    found = solve(problem_of(ready, image, target, layers, runtime=runtime), chosen)
    if not isinstance(found, Explanation):
        raise MethodError("trust is about one map: give one image and one target")
    return Examiner(ready, image, layers=layers, runtime=runtime, against=other).of(found, chosen)


@dataclass
class Examiner:
    """Checks the maps of one image.

    pixels: as `problem_of` takes them. layers: where methods that work at a layer do. against: another version of the
    model.
    """

    model: Model
    pixels: Any
    layers: tuple[str, ...] = ()
    card: Card | None = None
    runtime: RunOptions | None = None
    against: Model | None = None
    _problems: dict[tuple[str, tuple[str, ...]], Problem] = field(default_factory=dict)
    _seconds: dict[tuple[str, str], Explanation | None] = field(default_factory=dict)
    _errors: dict[str, float] | None = None

    def of(self, explanation: Explanation, method: Method) -> Trust:
        """The checks of one map of the image by a method. Raises MethodError where the input is no image."""

        def ask(image: Any = None, target: Target | None = None, model: Model | None = None) -> Problem:
            card = self.card if model is None else None
            given = self.pixels if image is None else image
            layers = (_layers_of(model, self.layers) or () if model else self.layers) if method.at_layer else ()
            asked = target or explanation.target
            return problem_of(model or self.model, given, asked, layers, card=card, runtime=self.runtime)

        pixels = self.pixels if isinstance(self.pixels, np.ndarray) else None
        key = str(explanation.target), self.layers if method.at_layer else ()
        if key not in self._problems:
            self._problems[key] = ask()
        case = Case(self._problems[key], explanation, remaking(method), ask, pixels=pixels)
        checks = checks_of(case, self._second(case.problem, method, str(explanation.target)))
        against = self._compared(case, method)
        if against is not None:
            checks = (*checks, against.check())
        return Trust(method.name, explanation.label, checks, against)

    def _second(self, problem: Problem, method: Method, target: str) -> Explanation | None:
        for name in _SECOND:
            other = make(name)
            if other.at_layer == method.at_layer and other.needs != "tail":
                continue
            key = name, target
            if key not in self._seconds:
                self._seconds[key] = self._explained(other, target, problem)
            if (found := self._seconds[key]) is not None and found.method != method.name:
                return found
        return None

    def _explained(self, method: Method, target: str, problem: Problem) -> Explanation | None:
        try:
            plain = problem_of(self.model, self.pixels, problem.asked, card=self.card, runtime=self.runtime)
            found = solve(plain, method)
        except (MethodError, GradientError):
            return None
        return found if isinstance(found, Explanation) and np.isfinite(found.values).all() else None

    # --- another version of the model ---

    def _compared(self, case: Case, method: Method) -> Against | None:
        """Raises ShapeError, TargetError, UnknownName where the other model takes no such image or target."""
        other = self.against
        if other is None or case.ask is None:
            return None
        there = case.ask(model=other)
        same_place = not method.at_layer or _layers_of(other, self.layers) is not None
        alike = None
        try:
            if same_place:
                alike = likeness(case.relevance, relevance_of(case.again(model=other), case.plane))
        except (MethodError, GradientError):
            pass  # no gradient of a quantised model
        answers = _answer(self.model, case.problem), _answer(other, there)
        if self._errors is None:
            self._errors = layer_errors(self.model, case.problem, other, there, self.runtime)
        name = other.path.name if other.path is not None else "the other model"
        return Against(
            name, (answers[0][1], answers[1][1]), answers[0][0] == answers[1][0], alike, self._errors, same_place
        )


def _layers_of(model: Model, names: Sequence[str]) -> tuple[str, ...] | None:
    """The layers of another version of a model; None where it lacks one."""
    known = {layer.name for layer in model.layers}
    found = []
    for name in names:
        try:
            found.append(next((name + s for s in _SUFFIXES if name + s in known), None) or find_layer(model, name).name)
        except UnknownName:
            return None
    return tuple(found)


def _answer(model: Model, problem: Problem) -> tuple[Any, str]:
    """The predicted class, and the same in words; the explained score where there are no classes."""
    try:
        predicted = problem.asking(Target.predicted())
    except (TargetError, MethodError):
        return None, f"{problem.scores[0]:.3g}"
    return predicted.targets[0].class_index, f"{predicted.targets[0].title} ({predicted.scores[0]:.3g})"


def layer_errors(
    model: Model, problem: Problem, other: Model, there: Problem, runtime: RunOptions | None = None
) -> dict[str, float]:
    """|a - b| / |a| of the values of each layer that both models have by name and shape, for their inputs.

    Integers are first fitted to the floats by a line, as a scale and a zero point are.
    """
    runtime = runtime or RunOptions()
    known = {layer.name for layer in other.layers}
    pairs = {
        name: next(name + suffix for suffix in _SUFFIXES if name + suffix in known)
        for name in health_layers(model)
        if name != CLASSES and any(name + suffix in known for suffix in _SUFFIXES)
    }
    mine = _values(model, problem, list(pairs), runtime)
    theirs = _values(other, there, list(pairs.values()), runtime)
    found = ((name, mine[name], theirs[pair]) for name, pair in pairs.items())
    return {name: _error(a, b) for name, a, b in found if a.shape == b.shape and a.size > 1}


def _values(model: Model, problem: Problem, names: list[str], runtime: RunOptions) -> dict[str, NDArray[Any]]:
    x = {problem.input.name: problem.input.x}
    return activations(model, x, names, providers=runtime.providers, threads=runtime.threads)


def _error(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, whole = a.astype(np.float64).ravel(), b.dtype.kind in "iu"
    b = b.astype(np.float64).ravel()
    if whole and np.ptp(b):
        b = np.polyval(np.polyfit(b, a, 1), b)
    size = float(np.linalg.norm(a))
    return float(np.linalg.norm(a - b)) / size if size else float(np.linalg.norm(b) > 0)
