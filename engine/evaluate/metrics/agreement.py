"""Agreement: between methods, and between seeds of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...attribution.explanation import Explanation
from ...errors import MethodError
from ...methods.options import option
from ..case import Case, relevance_of
from ..ranks import rank_correlation
from ..registry import Family, Measured, Metric, Needs, metric

_KRISHNA = (
    'S. Krishna et al., "The Disagreement Problem in Explainable Machine Learning: A Practitioner\'s Perspective", '
    "TMLR 2024, section 3.2"
)


@dataclass(frozen=True)
class _Agreement(Metric):
    family: ClassVar[Family] = "agreement"
    needs: ClassVar[Needs] = "other methods"
    paper: ClassVar[str] = _KRISHNA
    weakness: ClassVar[str] = "methods that are alike agree in what they get wrong"


@metric("rank-agreement")
@dataclass(frozen=True)
class RankAgreement(_Agreement):
    """The mean of Spearman's correlation between the map and those of the other methods judged."""

    range: ClassVar[str] = "-1 to 1"

    def __call__(self, case: Case) -> Measured:
        others = [relevance_of(e, case.plane) for e in _others(case)]
        return Measured(float(np.mean([rank_correlation(case.relevance, other) for other in others])))


@metric("top-overlap")
@dataclass(frozen=True)
class TopOverlap(_Agreement):
    """The mean share of the most relevant pixels that the map has in common with those of the other methods judged."""

    share: float = option(0.1, "Of the pixels that count as the most relevant.", low=0.001, high=1)
    range: ClassVar[str] = "0 to 1"

    def __call__(self, case: Case) -> Measured:
        count = max(1, round(self.share * case.falling.size))
        top = case.falling[:count]
        found = []
        for other in _others(case):
            order = np.argsort(-relevance_of(other, case.plane).ravel(), kind="stable")
            found.append(len(np.intersect1d(top, order[:count])) / count)
        return Measured(float(np.mean(found)))


@metric("seed-stability")
@dataclass(frozen=True)
class SeedStability(_Agreement):
    """Spearman's correlation between the map and that of the same method with another seed."""

    needs: ClassVar[Needs] = "explanations"
    range: ClassVar[str] = "-1 to 1"
    weakness: ClassVar[str] = "a stable map may be stably wrong"

    def __call__(self, case: Case) -> Measured:
        seed = int(case.explanation.options.get("seed", 0)) + 1 + case.seed
        return Measured(rank_correlation(case.relevance, case.relevance_again(seed=seed)))


def _others(case: Case) -> list[Explanation]:
    if not case.others:
        raise MethodError("one method is judged alone: there is no other to agree with")
    return list(case.others.values())
