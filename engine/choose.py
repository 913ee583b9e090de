"""`choose`: which method to use on a model and images, found within a time budget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attribution.photos import card_or_none
from .errors import GradientError, MethodError, ShapeError, UnknownName
from .evaluate.registry import USUAL_WITH_MASKS, Metric, chosen, make
from .evaluate.results import Evaluation, Judged
from .evaluation import Judge, mask_of, methods_of
from .graph.model import Model, Source
from .inference.batches import RunOptions
from .load import load
from .methods.registry import Method, methods
from .preprocess.card import LOAD_OPTIONS
from .survey.pictures import Picture, pictures_of

# Steps of insertion and deletion: enough to rank, few enough for a budget.
STEPS = 16
# Which methods are tried first: those that take least.
_ORDER = {"gradient": 0, "tail": 1, "forward": 2}
# The share of the budget after which no further method is tried, and the images that all that are kept have time for.
_TRYING, _LEAST = 0.6, 4


@dataclass(frozen=True)
class Choice:
    """The methods of a model in the order in which to use them, and why.

    evaluation: the values. seconds: method -> median time of one map. left_out: method -> why it was not judged, or not
    to the end. spent: seconds in all.
    """

    evaluation: Evaluation
    seconds: Mapping[str, float]
    left_out: Mapping[str, str]
    spent: float

    @property
    def order(self) -> tuple[str, ...]:
        """The methods that were judged, the best first; those whose maps survive random weights come last."""
        known = [name for name in self.evaluation.ranking.order if name in self.evaluation.ranking.mean_rank]
        return tuple(sorted(known, key=self._survives))

    @property
    def best(self) -> str:
        """The method to use."""
        return self.order[0]

    @property
    def advice(self) -> str:
        """One sentence: which method to use, and how sure that is."""
        return self.evaluation.advice

    def why(self, method: str) -> str:
        """What speaks for a method and against it, in a few words. Raises UnknownName."""
        if method in self.left_out:
            return self.left_out[method]
        ranks = self.evaluation.ranking.mean_rank
        if method not in ranks:
            raise UnknownName("method that was judged", method, [*ranks, *self.left_out])
        best = [metric.name for metric in self.evaluation.metrics if self._leads(method, metric)]
        parts = [f"mean rank {ranks[method]:.1f} of {len(ranks)}"]
        parts += [f"best by {', '.join(best)}"] if best else []
        parts.append(f"{self.seconds[method]:.2g} s a map")
        parts += ["its maps survive random weights: not to be relied on alone"] if self._survives(method) else []
        return "; ".join(parts)

    def _leads(self, method: str, metric: Metric) -> bool:
        found = {name: self.evaluation.aggregate(name, metric.name) for name in self.order}
        means = {name: one.mean for name, one in found.items() if one is not None}
        return method in means and not any(metric.is_better(other, means[method]) for other in means.values())

    @staticmethod
    def _survives(method: str) -> bool:
        known = methods().get(method)
        return known is not None and known.randomisation == "fails"

    def to_markdown(self) -> str:
        """A line for each method, the best first, then those that were left out."""
        lines = ["| | method | why |", "| ---: | --- | --- |"]
        lines += [f"| {place} | `{name}` | {self.why(name)} |" for place, name in enumerate(self.order, 1)]
        lines += [f"| - | `{name}` | {why} |" for name, why in self.left_out.items()]
        return "\n".join(lines) + "\n"

    def to_mapping(self) -> dict[str, Any]:
        """JSON-like data."""
        return {
            "best": self.best,
            "advice": self.advice,
            "methods": [{"method": name, "why": self.why(name), "seconds": self.seconds[name]} for name in self.order],
            "left_out": dict(self.left_out),
            "seconds": self.spent,
            "evaluation": {key: value for key, value in self.evaluation.to_mapping().items() if key != "images"},
            "images": len(self.evaluation.images),
        }

    def __str__(self) -> str:
        return f"{self.to_markdown()}\n{self.advice}"

    def _repr_markdown_(self) -> str:
        return str(self)


def choose(
    model: Source,
    images: Iterable[Any],
    *,
    seconds: float = 60.0,
    map_seconds: float | None = None,
    methods: Sequence[str | Method | type[Method]] | str | None = None,
    metrics: Sequence[str | Metric | type[Metric]] | str | None = None,
    masks: Sequence[NDArray[np.bool_] | None] | Mapping[str, NDArray[np.bool_]] | None = None,
    target: Any = None,
    seed: int = 0,
    batch: int | None = None,
    providers: Any = None,
    threads: int | None = None,
    **card: Any,
) -> Choice:
    """Rank the methods that fit a model within a time budget: the short version of `onnxray.evaluate`.

    All methods are tried on the first image, the quick ones first. Those too slow to be judged on four images within
    the budget are left out, the others are judged on as many images as there is time for. What is judged depends on the
    machine; the values do not.

    images, masks, target: as `onnxray.evaluate` takes them. seconds: the budget, of which one map and one image may
        take more. map_seconds: methods that need longer for one map are left out. methods, metrics: default: all that
        do not run the model hundreds of times; insertion and deletion in 16 steps and average drop, with masks also the
        pointing game and the heat on the object. seed, batch, providers, threads: as `onnxray.evaluate` takes them.
        card: fields of the model card.

    Returns a `Choice`: `best`, `order`, `why(method)`, `advice`, `evaluation`; `print` shows them.

    Raises MethodError (no method fits, a budget that is not above 0), ShapeError (no image, or a mask of another size),
    UnknownName, TargetError, CardError, ModelError.
    """
    for name in card:
        if name not in LOAD_OPTIONS:
            known = ("seconds", "map_seconds", "methods", "metrics", "masks", "target", "seed", "batch")
            raise UnknownName("option of choose", name, (*known, "providers", "threads", *LOAD_OPTIONS))
    for number in (seconds, *(() if map_seconds is None else (map_seconds,))):
        if not number > 0:
            raise MethodError(f"the time budget is {number} seconds: it must be above 0")
    ready = load(model, **card)
    wanted = chosen(metrics, masks is not None) if metrics is not None else usual(ready, masks is not None)
    tried = sorted(methods_of(methods), key=lambda method: _ORDER[method.needs])
    runtime = RunOptions(providers=providers, threads=threads, batch=batch)
    chooser = Chooser(ready, tried, wanted, target, runtime, seed, seconds, map_seconds)
    for number, picture in enumerate(pictures_of(images)):
        if not chooser.add(picture, mask_of(masks, number, picture)):
            break
    return chooser.result()


def usual(model: Model, masks: bool) -> list[Metric]:
    """The metrics where none are named. masks: whether the pixels of objects are known."""
    card = card_or_none(model)
    size = None if card is None else card.size
    step = {} if size is None else {"step": -(-size[0] * size[1] // STEPS)}
    names = ("average-drop", *(USUAL_WITH_MASKS if masks else ()))
    return [make("insertion", step), make("deletion", step), *map(make, names)]


class Chooser:
    """Judges methods image by image, as long as there is time."""

    def __init__(
        self,
        model: Model,
        tried: Sequence[Method],
        metrics: Sequence[Metric],
        target: Any,
        runtime: RunOptions,
        seed: int,
        seconds: float,
        map_seconds: float | None,
    ) -> None:
        self.start = time.perf_counter()
        self.budget, self.map_seconds = seconds, map_seconds
        self.judges = {m.name: Judge(model, [m], metrics, target, runtime, seed) for m in tried}
        self.kept = list(self.judges)
        self.metrics = tuple(metrics)
        self.left_out: dict[str, str] = {}
        self.judged: list[Judged] = []
        self.seconds: dict[str, list[float]] = {name: [] for name in self.judges}
        self._cost: dict[str, float] = {}

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    def add(self, picture: Picture, mask: NDArray[np.bool_] | None = None) -> bool:
        """Judge one more image; whether there is time for another one. Raises MethodError where no method fits."""
        first = not self.judged
        parts: list[Judged] = []
        for name in list(self.kept):
            if first and parts and self.spent > _TRYING * self.budget:
                self._leave(name, f"not tried: no time was left for it in {self.budget:g} s")
                continue
            start = time.perf_counter()
            try:
                parts.append(self.judges[name].one(picture, mask))
            except (MethodError, GradientError) as error:
                if first:
                    self._leave(name, f"does not fit: {error}")
                continue
            self._cost[name] = time.perf_counter() - start
            self.seconds[name].append(parts[-1].seconds[name])
        if not parts:
            raise MethodError(f"no method can be judged on {picture.name}: {next(iter(self.left_out.values()), '')}")
        self.judged.append(_joined(parts))
        if first:
            self._drop_slow()
        return self.spent + sum(self._cost[name] for name in self.kept) < self.budget

    def _leave(self, name: str, why: str) -> None:
        self.left_out[name] = why
        self.kept.remove(name)

    def _drop_slow(self) -> None:
        """Keep the methods that can be judged on a few images; the cheapest one in any case."""
        budget, total = max(0.0, self.budget - self.spent), 0.0
        for place, name in enumerate(sorted(self.kept, key=self._cost.__getitem__)):
            took = self.seconds[name][0]
            total += self._cost[name] * (_LEAST - 1)
            if self.map_seconds is not None and took > self.map_seconds:
                self._leave(name, f"too slow: {took:.2g} s a map, more than {self.map_seconds:g} s")
            elif place and total > budget:
                text = f"with the quicker methods, {_LEAST} images do not fit into {self.budget:g} s"
                self._leave(name, f"too slow: {took:.2g} s a map, {self._cost[name]:.2g} s to judge it: {text}")
        if not self.kept:
            raise MethodError(f"no method makes a map in {self.map_seconds:g} s: give more time")

    def result(self) -> Choice:
        """What came out. Raises ShapeError where there was no image, MethodError where no method has a rank."""
        if not self.judged:
            raise ShapeError("there is no image: give at least one")
        evaluation = Evaluation(tuple(self.kept), self.metrics, tuple(self.judged))
        medians = {name: float(np.median(self.seconds[name])) for name in self.kept}
        ranked = evaluation.ranking.mean_rank
        unranked = {name: "has too few values to be ranked" for name in self.kept if name not in ranked}
        if not ranked:
            raise MethodError(f"no metric gives a value to {', '.join(unranked)}: name other metrics, or other images")
        return Choice(evaluation, medians, self.left_out | unranked, self.spent)


def _joined(parts: Sequence[Judged]) -> Judged:
    """One image judged for each method alone, as if together."""
    values = {name: of for part in parts for name, of in part.values.items()}
    curves = {name: of for part in parts for name, of in part.curves.items()}
    left_out = {name: why for part in parts for name, why in part.left_out.items()}
    seconds = {name: s for part in parts for name, s in part.seconds.items()}
    return Judged(parts[0].name, parts[0].target, values, curves, left_out, seconds, parts[0].notes)
