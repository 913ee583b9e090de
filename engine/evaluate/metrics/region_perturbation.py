"""Pixel flipping by regions: what the score loses as squares are hidden, the most relevant first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...attribution.baselines import NAMES
from ...methods.options import option
from ..case import Case
from ..regions import squares, sums
from ..registry import Curve, Measured, Metric, Needs, metric


@metric("region-perturbation")
@dataclass(frozen=True)
class RegionPerturbation(Metric):
    """The mean fall of the probability as squares are hidden one after the other, the most relevant first.

    AOPC = 1 / (L + 1) * sum over k = 0 ... L of p(x_0) - p(x_k), with x_k the image without its k most relevant squares
    of `side` pixels, ordered by the sum of the map over them. With `regions` = 1 and squares of one pixel it is
    pixel flipping (S. Bach et al., PLoS ONE 2015).
    """

    side: int = option(9, "Pixels along each side of a square.", low=1)
    regions: float = option(0.5, "Share of the squares that are hidden, one after the other.", low=0.01, high=1)
    fill: str = option("blur", "What takes the place of a square; the paper has `noise`.", choices=NAMES)
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "-1 to 1 (probability)"
    paper: ClassVar[str] = (
        'W. Samek, A. Binder, G. Montavon, S. Lapuschkin and K.-R. Müller, "Evaluating the Visualization of What a '
        'Deep Neural Network Has Learned", IEEE TNNLS 28, 2017, section III'
    )
    weakness: ClassVar[str] = "the edges of hidden squares are new objects to the network; what is filled in decides"

    def __call__(self, case: Case) -> Measured:
        place = squares(case.plane, self.side)
        totals = sums(case.relevance, place)
        rank = np.empty(len(totals), np.int64)
        rank[np.argsort(-totals, kind="stable")] = np.arange(len(totals))
        ranked, steps = rank[place], max(1, round(self.regions * len(totals)))

        def hidden(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.asarray(ranked < numbers[:, None, None])

        p = case.probabilities(steps + 1, case.hidden(hidden, case.fill(self.fill)))
        drops = p[0] - p
        return Measured(float(drops.mean()), Curve(np.arange(steps + 1) / len(totals), p))
