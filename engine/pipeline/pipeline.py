"""`Pipeline`: explanations of many images by one model and one method."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...kernels.threads import available
from ..attribution.explanation import Explanation, with_source
from ..attribution.explanations import Explanations
from ..attribution.inputs import CARD_OPTIONS, example_input, read_labels_of
from ..attribution.photos import card_of, photos_of
from ..attribution.problem import Problem
from ..errors import CardError, MethodError, ModelError, OnnxrayError, ShapeError, TargetError
from ..explain import RUN_OPTIONS, problem_of, solve
from ..graph.model import Model, Source
from ..inference.batches import RunOptions
from ..inference.devices import Free, providers_on
from ..inspect.layers import Layer
from ..inspect.signature import image_input
from ..load import load
from ..methods.registry import Method, make
from ..novelty.memory import Novelty
from ..preprocess.card import Card
from ..runtime.providers import resolve_providers
from ..targets.target import Target
from .flow import Flow, Sizes, Stages
from .judge import Judge, judge_of


@dataclass(frozen=True)
class Given:
    """What an image was decoded to: see `explain` for `value`. source: its file; notes: what is to be said of it."""

    value: Any
    source: str | None = None
    notes: Sequence[str] = ()


class Pipeline(Flow[Any]):
    """Explains images that come one by one, from any number of threads: with the values of `onnxray.explain`.

        with onnxray.Pipeline("model.onnx", method="grad-cam", workers=2, queue=8) as pipeline:
            ticket = pipeline.submit(frame, key="part-17")
            explanation = ticket.result(timeout=1.0)

    model, method, target, layer: as `onnxray.explain` takes them; so are the images that `submit` and `map` take. An
        array is not copied: leave it as it is until its result is there.
    workers: threads of inference. queue: how many images wait besides those in work; `submit` waits, or raises Busy,
        when there is no place for another one. batch: how many images run together, at most; a batch forms of what is
        there, and the first image waits for others for `max_delay_ms` milliseconds at most.
    when: a rule such as "label != 'clean' and score > 0.6": an image for which it does not hold is not explained, and
        its result is an `Unexplained`, which `render` does not get. It knows label, score, scores, index, margin,
        entropy, path, and with `memory`, what `Novelty.fit` made or the path of its file, novelty. What it knew of an
        image is `prediction` in the explanation's `details`.
    render: what makes the ticket's result of an explanation, in a thread of its own, such as `lambda e: e.overlay()`.
    devices: numbers of devices of the provider, as (0, 1): images are shared among them, each is worked on by the one
        that is free; the results come in the order of the images.
    warm: whether the model is run once at the start, so that the first image takes no longer than the others.
    options: those of `explain`. `threads`, of one run, is by default the number of processors divided by `workers`:
        several runs with as many threads each would wait for each other.

    The values are those of `onnxray.explain` of the same image, bit for bit; images that ran in a batch differ from it
    as far as the model's own answers for a batch do, by rounding (1e-5 of the map's range). An image that fails raises
    its error from its own ticket. At the end of the block everything that was submitted is finished; where the block
    ends by an exception or Ctrl-C, only what is in work.

    Raises UnknownName, MethodError, TargetError, CardError, ModelError, GradientError and its subclasses for what is
    asked for, RuleError and OutputError for a rule and its memory, ShapeError for numbers that make no pipeline.
    """

    def __init__(
        self,
        model: Source,
        method: str | Method | type[Method] = "grad-cam",
        target: Any = None,
        layer: str | Layer | Sequence[str | Layer] | None = None,
        *,
        workers: int = 2,
        queue: int = 8,
        batch: int = 1,
        max_delay_ms: float = 5.0,
        when: str | None = None,
        memory: Novelty | str | os.PathLike[str] | None = None,
        render: Callable[[Any], Any] | None = None,
        warm: bool = True,
        devices: Sequence[int] | None = None,
        decode: Callable[[Any], Given] | None = None,
        **options: Any,
    ) -> None:
        count = len(devices) if isinstance(devices, Sequence) else 0  # anything else is refused below
        sizes = Sizes(max(workers, count), queue, batch, max_delay_ms)
        work = Explaining.of(model, method, target, layer, workers, options)
        several = work.judging(when, memory).on(devices)
        free = Free(several)  # before sessions are made: more of them are kept from then on
        if warm:
            for one in several:
                one.warm(batch, render)

        def infer(given: Sequence[Given]) -> list[Any]:
            if devices is None:
                return several[0].several(given)
            with free.one() as one:
                return one.several(given)

        shown = render if render is None or when is None else functools.partial(_if_explained, render)
        super().__init__(Stages(infer, decode or Given, shown, work.group), sizes)


@dataclass(frozen=True)
class Unexplained:
    """An image for which a pipeline's rule does not hold. prediction: label, index, score, margin and entropy, with a
    memory also novelty, and warnings where something speaks against relying on it; source: its file."""

    prediction: Mapping[str, Any]
    source: str | None = None


def _if_explained(render: Callable[[Any], Any], found: Any) -> Any:
    return found if isinstance(found, Unexplained) else render(found)


@dataclass(frozen=True)
class Explaining:
    """The stage of inference: explanations of several images together.

    card: of a model that takes images, else None. photos: whether images run together: the model has a batch axis.
    """

    model: Model
    method: Method
    target: Target
    layer: Any
    runtime: RunOptions
    at: str | None
    card: Card | None
    photos: bool
    judge: Judge | None = None

    @classmethod
    def of(
        cls, source: Source, method: Any, target: Any, layer: Any, workers: int, options: Mapping[str, Any]
    ) -> Explaining:
        options = dict(options)
        at = options.pop("at", None)
        fields = {name: options.pop(name) for name in CARD_OPTIONS if name in options}
        running = {name: options.pop(name) for name in RUN_OPTIONS if name in options}
        if running.get("threads") is None and workers > 1:
            running["threads"] = _threads(running.get("providers"), workers)
        chosen = make(method, options, ("method", "target", "layer", *CARD_OPTIONS, *RUN_OPTIONS))
        model = load(source, **fields)
        card = _card(model)
        photos = card is not None and card.batched and at is None
        return cls(model, chosen, Target.of(target), layer, RunOptions(**running), at, card, photos)

    def group(self, given: Given) -> Hashable:
        """Photos run together, whatever their sizes; anything else runs alone."""
        alone = not (self.photos and isinstance(given.value, np.ndarray) and photos_of(self.model, given.value))
        return id(given) if alone else "photos"

    def judging(self, when: str | None, memory: Novelty | str | os.PathLike[str] | None) -> Explaining:
        """The same, of images for which a rule holds. Raises what `judge_of` raises."""
        if when is None and memory is None:
            return self
        labels = read_labels_of(self.model) if self.card is None else self.card.labels
        return replace(self, judge=judge_of(self.model, labels, when, memory, _running(self.runtime)))

    def on(self, devices: Sequence[int] | None) -> list[Explaining]:
        """The same on each device, itself where none is named. Raises what `providers_on` raises."""
        if devices is None:
            return [self]
        chosen = providers_on(self.runtime.providers, devices)
        return [self._with(replace(self.runtime, providers=providers)) for providers in chosen]

    def _with(self, runtime: RunOptions) -> Explaining:
        judge = None if self.judge is None else self.judge.on(_running(runtime))
        return replace(self, runtime=runtime, judge=judge)

    def several(self, given: Sequence[Given]) -> list[Any]:
        """The explanations of each image, or `Unexplained`. Raises what `explain` raises."""
        if self.judge is None:
            return list(self._explained(given))
        judged = self.judge.several([one.value for one in given], [one.source or "" for one in given])
        held = [one for one, (_, holds) in zip(given, judged, strict=True) if holds]
        found = iter(self._explained(held) if held else [])
        return [
            _with(next(found), fields["prediction"]) if holds else Unexplained(fields["prediction"], one.source)
            for one, (fields, holds) in zip(given, judged, strict=True)
        ]

    def _explained(self, given: Sequence[Given]) -> list[Explanation | Explanations]:
        if len(given) == 1:
            return [_named(given[0], self._solved(given[0].value))]
        found = list(self._solved([one.value for one in given]))
        each = len(found) // len(given)
        parts = [found[i * each : (i + 1) * each] for i in range(len(given))]
        return [
            _named(one, part[0] if each == 1 else Explanations(part)) for one, part in zip(given, parts, strict=True)
        ]

    def warm(self, batch: int, render: Callable[[Any], Any] | None) -> None:
        """Make sessions and compile kernels by explaining an image of zeros, alone and as a batch.

        Raises what is wrong with the method, the target or the layer; what an image of zeros lacks is passed over.
        """
        zeros = self._example()
        if zeros is None:
            return
        for count in dict.fromkeys((1, batch if self.photos else 1)):
            problem = self._problem(zeros if count == 1 else [zeros] * count)
            try:
                if self.judge is not None:
                    self.judge.several([zeros] * count, ["image.png"] * count)
                found = solve(problem, self.method)
            except (ShapeError, TargetError):
                continue
            if render is not None and count == 1:
                self._try(render, found)

    def _try(self, render: Callable[[Any], Any], found: Any) -> None:
        try:
            render(found)
        except OnnxrayError:
            return

    def _example(self) -> Any:
        """An input of zeros, a photo where the model takes photos; None where its shape is not known."""
        if self.card is not None:
            return np.zeros((*self.card.size, 3), np.uint8)
        try:
            given = example_input(self.model)
        except (ModelError, MethodError):
            return None
        return {given.name: given.x, **given.others}

    def _solved(self, value: Any) -> Any:
        return solve(self._problem(value), self.method)

    def _problem(self, value: Any) -> Problem:
        return problem_of(self.model, value, self.target, self.layer, runtime=self.runtime, at=self.at)


def _card(model: Model) -> Card | None:
    """The card of a model that takes images, else None. Raises CardError."""
    try:
        image_input(model)
    except (ModelError, CardError):
        return None
    return card_of(model)


def _running(runtime: RunOptions) -> dict[str, Any]:
    """What a judge runs with."""
    return {"providers": runtime.providers, "threads": runtime.threads}


def _threads(providers: Any, workers: int) -> int | None:
    """Threads of one run where several go on at once."""
    if resolve_providers(providers) != ("CPUExecutionProvider",):
        return None
    return max(1, available() // workers)


def _with(found: Any, prediction: Mapping[str, Any]) -> Any:
    """With what a rule knew of the image."""
    if isinstance(found, Explanation):
        return replace(found, details={**found.details, "prediction": dict(prediction)})
    return Explanations([_with(part, prediction) for part in found])


def _named(given: Given, found: Any) -> Any:
    """With the file that the image came from."""
    if given.source is None:
        return found
    if isinstance(found, Explanation):
        return with_source(found, given.source, given.notes)
    return Explanations([with_source(part, given.source, given.notes) for part in found])
