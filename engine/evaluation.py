"""`evaluate`: how right the maps of methods are on a model and images, in numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attribution.explanation import Explanation
from .attribution.photos import card_or_none
from .attribution.problem import Problem
from .errors import GradientError, MethodError, ShapeError, TargetError, UnknownName
from .evaluate.case import Case
from .evaluate.registry import Metric, chosen
from .evaluate.results import Evaluation, Judged
from .explain import problem_of, solve
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .load import load
from .methods.registry import Method, make, methods
from .preprocess.card import LOAD_OPTIONS, Card
from .survey.pictures import Picture, pictures_of
from .targets.target import Target

# Methods that run the network hundreds of times for one map: not what is judged where no method is named.
PATIENT = frozenset({"d-rise", "kernel-shap", "lime", "rise", "score-cam", "sobol"})


def evaluate(
    model: Source,
    images: Iterable[Any],
    methods: Sequence[str | Method | type[Method]] | str | None = None,
    metrics: Sequence[str | Metric | type[Metric]] | str | None = None,
    *,
    masks: Sequence[NDArray[np.bool_] | None] | Mapping[str, NDArray[np.bool_]] | None = None,
    target: Any = None,
    seed: int = 0,
    batch: int | None = None,
    providers: Any = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    **card: Any,
) -> Evaluation:
    """Judge the maps of methods on a model's answers to images by metrics, each as its paper defines it.

    images: as `onnxray.top` takes them. methods: names or instances; default: all that fit the model and do not run it
    hundreds of times. metrics: names, families ("faithfulness", "localisation", "robustness", "randomisation",
    "complexity", "agreement") or instances; default: insertion, deletion, ROAD, region perturbation and sparseness,
    with masks also the pointing game and the heat on the object. masks: bool (H, W) of the pixels of the object on each
    image, in their order (None for an image without), or by the image's name. target: what is explained, as `explain`
    takes it. seed: of all that is drawn at random. batch, providers, threads: how the model runs. progress: called with
    how many images are done. card: fields of the model card, as `load` takes them.

    Returns an `Evaluation`: `to_markdown()`, `to_csv()`, `save(dir)`, `advice`, `compare(a, b, metric)`.

    Raises UnknownName (method, metric), MethodError (a method named that does not fit, metrics that need masks where
    there are none), ShapeError (no image, or a mask of another size), TargetError, CardError, ModelError.
    """
    for name in card:
        if name not in LOAD_OPTIONS:
            known = ("masks", "target", "seed", "batch", "providers", "threads", *LOAD_OPTIONS)
            raise UnknownName("option of evaluate", name, known)
    runtime = RunOptions(providers=providers, threads=threads, batch=batch)
    wanted = chosen(metrics, masks is not None)
    judge = Judge(load(model, **card), methods_of(methods), wanted, target, runtime, seed, methods is None)
    judged = []
    for number, picture in enumerate(pictures_of(images)):
        judged.append(judge.one(picture, mask_of(masks, number, picture)))
        if progress is not None:
            progress(len(judged))
    if not judged:
        raise ShapeError("there is no image: give at least one")
    return judge.result(judged)


def methods_of(given: Sequence[str | Method | type[Method]] | str | None) -> list[Method]:
    """The methods of a list of names, or all that are not patient. Raises UnknownName, MethodError."""
    if given is None:
        return [make(name) for name in methods() if name not in PATIENT]
    names = [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else list(given)
    made = {method.name: method for method in map(make, names)}
    if not made:
        raise MethodError("no method is named: give some of " + ", ".join(methods()))
    return list(made.values())


def mask_of(masks: Any, number: int, picture: Picture) -> NDArray[np.bool_] | None:
    """The mask of image `number`, by its place or its name; None where there is none. Raises ShapeError."""
    if masks is None:
        return None
    if isinstance(masks, Mapping):
        found = masks.get(picture.name)
    else:
        if number >= len(masks):
            raise ShapeError(f"{len(masks)} masks are given for more images: give one for each, or None")
        found = masks[number]
    return None if found is None else np.asarray(found)


@dataclass(frozen=True)
class Judge:
    """Judges images one by one. every: methods that do not fit are left out, with the reason."""

    model: Model
    methods: Sequence[Method]
    metrics: Sequence[Metric]
    target: Any = None
    runtime: RunOptions | None = None
    seed: int = 0
    every: bool = False

    def result(self, judged: Sequence[Judged]) -> Evaluation:
        return Evaluation(tuple(method.name for method in self.methods), tuple(self.metrics), tuple(judged))

    def one(
        self,
        picture: Picture,
        mask: NDArray[np.bool_] | None = None,
        seen: Callable[[Explanation], None] | None = None,
    ) -> Judged:
        """The values for one image. mask: of the object, on its pixels; the picture's label is the object's class,
        which is explained where no target is asked for. seen: called with every explanation.

        Raises ShapeError for a mask of another size, MethodError where no method fits.
        """
        card = card_or_none(self.model)
        if mask is not None and mask.shape != picture.pixels.shape[:2]:
            raise ShapeError(
                f"the mask of {picture.name} has {_size(mask.shape)} pixels and the image "
                f"{_size(picture.pixels.shape)}: give a mask of the image's size"
            )
        notes: list[str] = []
        problem, known = self._problem(picture if mask is not None else replace(picture, label=None), card, notes)
        mask = mask if known else None
        left_out: dict[str, str] = {}
        seconds: dict[str, float] = {}
        explained = dict(self._explained(problem, left_out, seconds))
        if not explained:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:1])
            raise MethodError(f"no method fits this model and image ({reasons})")
        target = next(iter(explained.values())).target
        values: dict[str, dict[str, float]] = {}
        curves: dict[str, dict[str, Any]] = {}
        for method in self.methods:
            if method.name not in explained:
                continue
            if seen is not None:
                seen(explained[method.name])
            case = self._case(problem, method, explained, mask, picture, card)
            values[method.name], curves[method.name] = self._measured(case, left_out)
        return Judged(picture.name, target.title, values, curves, left_out, seconds, tuple(notes))

    def _problem(self, picture: Picture, card: Card | None, notes: list[str]) -> tuple[Problem, bool]:
        """What is explained of an image, and whether its mask is about that."""
        asked = Target.of(self.target)
        if picture.label is not None and str(asked) == "predicted":
            try:
                of_label = problem_of(
                    self.model, picture.pixels, Target.class_(picture.label), card=card, runtime=self.runtime
                )
            except (UnknownName, TargetError) as error:
                notes.append(
                    f"its object is of the class {picture.label!r}, which the model lacks ({error}): "
                    "localisation is left out"
                )
            else:
                return of_label, True
            return problem_of(self.model, picture.pixels, asked, card=card, runtime=self.runtime), False
        return problem_of(self.model, picture.pixels, asked, card=card, runtime=self.runtime), True

    def _explained(
        self, problem: Problem, left_out: dict[str, str], seconds: dict[str, float]
    ) -> Iterator[tuple[str, Explanation]]:
        for method in self.methods:
            start = time.perf_counter()
            try:
                found = solve(problem, method)
                if not isinstance(found, Explanation):
                    raise MethodError("an evaluation judges one target at a time: name one")
                if not np.isfinite(found.values).all():
                    raise MethodError("its map has values that are not finite")
            except (MethodError, GradientError) as error:
                if not self.every:
                    raise
                left_out[method.name] = str(error)
            else:
                seconds[method.name] = time.perf_counter() - start
                yield method.name, found

    def _case(
        self,
        problem: Problem,
        method: Method,
        explained: Mapping[str, Explanation],
        mask: NDArray[np.bool_] | None,
        picture: Picture,
        card: Card | None,
    ) -> Case:
        explanation = explained[method.name]

        def ask(image: Any = None, target: Target | None = None, model: Model | None = None) -> Problem:
            pixels = picture.pixels if image is None else image
            return problem_of(
                model or self.model, pixels, target or explanation.target, card=card, runtime=self.runtime
            )

        others = {name: e for name, e in explained.items() if name != method.name}
        return Case(problem, explanation, remaking(method), ask, mask, others, self.seed, picture.pixels)

    def _measured(self, case: Case, left_out: dict[str, str]) -> tuple[dict[str, float], dict[str, Any]]:
        values: dict[str, float] = {}
        curves: dict[str, Any] = {}
        for metric in self.metrics:
            try:
                found = metric(case)
            except (MethodError, GradientError, ShapeError) as error:
                left_out[f"{case.explanation.method} {metric.name}"] = str(error)
                continue
            values[metric.name] = found.value
            if found.curve is not None:
                curves[metric.name] = (found.curve.x.tolist(), found.curve.y.tolist())
        return values, curves


def remaking(method: Method) -> Callable[[Problem, int | None], Explanation]:
    """What makes a method's map of another problem, with another seed where one is given."""

    def explain(problem: Problem, seed: int | None = None) -> Explanation:
        again = method
        if seed is not None:
            if "seed" not in {f.name for f in fields(method)}:
                raise MethodError(f"{method.name} draws nothing at random")
            again = replace(method, seed=seed)  # type: ignore[call-arg]
        found = solve(problem, again)
        if not isinstance(found, Explanation):
            raise MethodError("an evaluation judges one target at a time: name one")
        return found

    return explain


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
