"""Faithfulness correlation and sensitivity-n: does the map's sum over random pixels predict what hiding them costs?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...attribution.baselines import NAMES
from ...methods.options import option
from ..case import Case
from ..ranks import correlation
from ..regions import drops_without, random_sets
from ..registry import Curve, Measured, Metric, Needs, metric


@metric("faithfulness-correlation")
@dataclass(frozen=True)
class FaithfulnessCorrelation(Metric):
    """The correlation, over random sets of pixels, between the map's sum over a set and the score's fall without it.

    corr over S of (sum of the map over S, f(x) - f(x without S)), Pearson's, with sets S of `size` pixels.
    """

    size: int = option(224, "Pixels of a set.", low=1)
    samples: int = option(100, "Random sets.", low=3)
    fill: str = option("zero", "What takes the place of pixels.", choices=NAMES)
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "-1 to 1"
    paper: ClassVar[str] = (
        'U. Bhatt, A. Weller and J. M. F. Moura, "Evaluating and Aggregating Feature-based Model Explanations", '
        "IJCAI 2020, section 3.2"
    )
    weakness: ClassVar[str] = (
        "random pixels cover an image evenly, so that sets differ by little and the noise of hiding outweighs the map"
    )

    def __call__(self, case: Case) -> Measured:
        size = min(self.size, case.falling.size)
        return Measured(correlated(case, size, self.samples, self.fill))


@metric("sensitivity-n")
@dataclass(frozen=True)
class SensitivityN(Metric):
    """The mean of the faithfulness correlation over set sizes from one pixel to most of the image.

    The mean over n of corr over S with |S| = n of (sum of the map over S, f(x) - f(x without S)). A map that satisfies
    the equality for all n is exact for a linear model.
    """

    sizes: int = option(6, "Set sizes, evenly spaced on a logarithmic scale up to 80 % of the pixels.", low=2)
    samples: int = option(50, "Random sets of each size.", low=3)
    fill: str = option("zero", "What takes the place of pixels.", choices=NAMES)
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "-1 to 1"
    paper: ClassVar[str] = (
        'M. Ancona, E. Ceolini, C. Öztireli and M. Gross, "Towards Better Understanding of Gradient-based Attribution '
        'Methods for Deep Neural Networks", ICLR 2018, section 4'
    )
    weakness: ClassVar[str] = "single pixels change the score by less than rounding does, large sets break the image"

    def __call__(self, case: Case) -> Measured:
        most = max(2, int(0.8 * case.falling.size))
        sizes = np.unique(np.rint(np.geomspace(1, most, self.sizes)).astype(np.int64))
        found = np.array([correlated(case, int(n), self.samples, self.fill) for n in sizes])
        return Measured(float(found.mean()), Curve(sizes / case.falling.size, found))


def correlated(case: Case, size: int, samples: int, fill: str) -> float:
    """Pearson's correlation between sums of the map over random sets of pixels, and what hiding them costs."""
    sets = random_sets(case, size, samples)
    drops = drops_without(case, sets, case.fill(fill))
    return correlation(case.relevance.ravel()[sets].sum(axis=1), drops)
