"""Randomisation: does the map change with the weights, and with the class?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import MethodError
from ...methods.options import option
from ...targets.resolved import ClassTarget
from ...targets.target import Target
from ..case import Case
from ..randomised import randomised
from ..ranks import rank_correlation
from ..registry import Better, Curve, Family, Measured, Metric, Needs, metric

_ADEBAYO = 'J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3'


@dataclass(frozen=True)
class _Randomised(Metric):
    family: ClassVar[Family] = "randomisation"
    better: ClassVar[Better] = "lower"
    needs: ClassVar[Needs] = "random weights"
    range: ClassVar[str] = "-1 to 1"
    paper: ClassVar[str] = _ADEBAYO
    weakness: ClassVar[str] = "noise changes with the weights too: a map that passes need not be right"

    def _similar(self, case: Case, parts: list[tuple[float, float]]) -> Measured:
        before = np.abs(case.relevance)
        found = []
        for first, last in parts:
            model = randomised(case.problem.source, first, last, case.seed)
            found.append(rank_correlation(before, np.abs(case.relevance_again(model=model))))
        x = np.arange(1, len(parts) + 1) / len(parts)
        return Measured(float(np.mean(found)), Curve(x, np.asarray(found, np.float64)))


@metric("top-down-randomisation")
@dataclass(frozen=True)
class TopDown(_Randomised):
    """How alike the map stays as the weights are drawn anew, from the answer down to the input, more and more of them.

    The mean over k = 1 ... stages of Spearman's correlation between the magnitudes of the map and of that of the model
    whose last k / stages of the weight tensors are random, for the same class.
    """

    stages: int = option(4, "Parts of the weights.", low=1, high=64)

    def __call__(self, case: Case) -> Measured:
        return self._similar(case, [(1 - k / self.stages, 1.0) for k in range(1, self.stages + 1)])


@metric("bottom-up-randomisation")
@dataclass(frozen=True)
class BottomUp(_Randomised):
    """How alike the map stays as the weights are drawn anew, from the input up to the answer, more and more of them.

    As top-down-randomisation, with the first k / stages of the weight tensors random.
    """

    stages: int = option(4, "Parts of the weights.", low=1, high=64)

    def __call__(self, case: Case) -> Measured:
        return self._similar(case, [(0.0, k / self.stages) for k in range(1, self.stages + 1)])


@metric("efficient-randomisation")
@dataclass(frozen=True)
class Efficient(_Randomised):
    """How much more complex the map becomes when all weights are random: (c' - c) / c, c being its histogram's entropy.

    c is the entropy, in nats, of the histogram of the map's values in 100 bins over its own range. eMPRT.
    """

    better: ClassVar[Better] = "higher"
    range: ClassVar[str] = "-1 to infinity"
    paper: ClassVar[str] = (
        'A. Hedström et al., "A Fresh Look at Sanity Checks for Saliency Maps", xAI 2024, section 4.2 (eMPRT)'
    )

    def __call__(self, case: Case) -> Measured:
        before = _histogram_entropy(case.relevance)
        if before == 0:
            raise MethodError("the map is the same everywhere: its complexity cannot rise in proportion")
        after = _histogram_entropy(case.relevance_again(model=randomised(case.problem.source, 0.0, 1.0, case.seed)))
        return Measured((after - before) / before)


@metric("random-logit")
@dataclass(frozen=True)
class RandomLogit(_Randomised):
    """How alike the map is to that of another class, drawn at random: Spearman's correlation of the magnitudes."""

    needs: ClassVar[Needs] = "explanations"
    paper: ClassVar[str] = (
        'L. Sixt, M. Granz and T. Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML '
        "2020, section 4"
    )
    weakness: ClassVar[str] = "classes that look alike have maps alike, and rightly so"

    def __call__(self, case: Case) -> Measured:
        target, index = case.problem.target, case.explanation.target.class_index
        if not isinstance(target, ClassTarget) or index is None:
            raise MethodError("the target is no class: there is no other to compare with")
        count = target.by_class(case.problem.y).shape[1]
        if count < 2:
            raise MethodError("the model has one class: there is no other to compare with")
        other = int(case.generator().integers(count - 1))
        other += other >= index
        again = case.relevance_again(target=Target.class_(other))
        return Measured(rank_correlation(np.abs(case.relevance), np.abs(again)))


def _histogram_entropy(values: np.ndarray) -> float:
    counts = np.histogram(values, 100)[0]
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
