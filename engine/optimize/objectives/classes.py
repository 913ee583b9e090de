"""Classes: the logit, the probability, and the contrast with the other classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...graph.model import Model
from ...methods.options import option
from ...preprocess.answers import answer_of
from ..build import Build, logits_of
from ..objective import Objective, objective


class _OfClass(Objective):
    """Base of objectives about one class."""

    which: int | str

    def reads(self, model: Model) -> tuple[str, ...]:
        return (logits_of(model)[0],)

    @classmethod
    def parse(cls, text: str) -> Objective:
        text = text.strip()
        return cls(int(text) if text.isascii() and text.isdigit() else text)  # type: ignore[call-arg]

    def __str__(self) -> str:
        return f"{self.name}:{self.which}"

    def _parts(self, build: Build) -> tuple[str, str, str]:
        """The logits (N, C), which of them is meant as 0 and 1 (N, C), and the class's logit (N,)."""
        logits, index, count = build.class_scores(self.which)
        chosen = np.zeros((1, count), np.float32)
        chosen[0, index] = 1
        fed = build.parameter(chosen)
        return logits, fed, build.total(build.op("Mul", logits, fed), 2)

    def _probability(self, build: Build, logits: str, chosen: str) -> str:
        softmax = answer_of(build.model).function != "sigmoid" or answer_of(build.model).two_sided
        shares = build.op("Softmax", logits, axis=1) if softmax else build.op("Sigmoid", logits)
        return build.total(build.op("Mul", shares, chosen), 2)


@objective("logit")
@dataclass(frozen=True)
class Logit(_OfClass):
    """The score of a class before softmax or sigmoid."""

    which: int | str = option(0, "The class, by index or label.")

    def emit(self, build: Build) -> str:
        logits, chosen, logit = self._parts(build)
        probability = self._probability(build, logits, chosen) if answer_of(build.model).has_classes else logit
        build.report(logit, probability)
        return logit


@objective("probability")
@dataclass(frozen=True)
class Probability(_OfClass):
    """The probability of a class, also `prob:` as in targets: it grows as well where all other classes shrink."""

    which: int | str = option(0, "The class, by index or label.")

    def emit(self, build: Build) -> str:
        logits, chosen, logit = self._parts(build)
        probability = self._probability(build, logits, chosen)
        build.report(logit, probability)
        return probability


@objective("contrast")
@dataclass(frozen=True)
class Contrast(_OfClass):
    """The logit of a class minus logsumexp of the others: for a class that is an absence ("clean")."""

    which: int | str = option(0, "The class, by index or label.")

    def emit(self, build: Build) -> str:
        logits, chosen, logit = self._parts(build)
        hidden = build.op("Mul", chosen, build.constant(np.float32(-1e9)))
        others = build.op("ReduceLogSumExp", build.op("Add", logits, hidden), build.axes(1), keepdims=0)
        build.report(logit, self._probability(build, logits, chosen))
        return build.op("Sub", logit, others)
