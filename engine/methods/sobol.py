"""Sobol attribution: total indices of a variance-based sensitivity analysis.

T. Fel, R. Cadène, M. Chalvidal, M. Cord, D. Vigouroux and T. Serre, "Look at the Variance! Efficient Black-box
Explanations with Sobol-based Sensitivity Analysis", NeurIPS 2021, section 3: every feature i is multiplied by a real
mask m_i in 0..1 (mixed with the fill); masks A and B are two quasi-Monte-Carlo designs, and C_i is A with column i from
B. The total index is estimated as M. Jansen, "Analysis of variance designs for model output", Computer Physics
Communications 117, 1999:

    total_i = sum over designs of (score(A) - score(C_i))^2 / (2 * designs * variance of score(A))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.baselines import FILLS
from ..attribution.coalitions import SEGMENT_MEAN, Coalitions
from ..attribution.maps import Display
from ..attribution.segments import GRID
from ..errors import MethodError
from .families.perturbation import Perturbation, SampleAnswer
from .options import option
from .registry import method

# Dimensions for which direction numbers of Sobol's sequence are tabulated (Joe and Kuo, 2008); two per feature.
_MOST = 21201 // 2


@method("sobol")
@dataclass(frozen=True)
class Sobol(Perturbation):
    """How much of the score's variation each feature takes part in, alone or together with others, when all vary.

    On images the features are the rectangles of a grid unless `segments` says otherwise. Runs the network
    designs * (features + 2) times. Values are not negative: they say that a feature matters, not in which direction.
    Needs no gradient.
    """

    display: ClassVar[Display] = "positive"
    on_images: ClassVar[str] = GRID

    # As in the paper. Where detail is blurred away, much of the map is the image's own detail, whatever the weights.
    fill: str | float | np.ndarray | None = option(  # noqa: RUF009
        "zero", "What hidden features are mixed with; None: blur on images.", choices=(*FILLS, SEGMENT_MEAN)
    )
    designs: int = option(32, "Points of the quasi-Monte-Carlo design; a power of two.", low=2, high=1 << 20)

    def explain_sample(self, coalitions: Coalitions) -> list[SampleAnswer]:
        count = len(coalitions.features)
        if self.designs & (self.designs - 1):
            raise MethodError(f"sobol needs a power of two of designs, not {self.designs}: take 16, 32, 64, ...")
        if count > _MOST:
            raise MethodError(
                f"sobol knows sequences for {_MOST} features and the input has {count} ({coalitions.features.kind}): "
                "give segments that group them"
            )
        a, b = designs(count, self.designs, self.seed)

        def mask(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
            """A, then B, then every C_i, design by design."""
            which, design = np.divmod(numbers, self.designs)
            keep = np.where((which == 1)[:, None], b[design], a[design])
            swapped = np.flatnonzero(which >= 2)
            keep[swapped, which[swapped] - 2] = b[design[swapped], which[swapped] - 2]
            return keep

        runs = self.designs * (count + 2)
        scores = coalitions.scores_generated(runs, mask).reshape(count + 2, self.designs, -1)
        answers = []
        for of_target in np.moveaxis(scores, 2, 0):
            total, first, variance = indices(of_target[0], of_target[1], of_target[2:])
            answers.append(
                SampleAnswer(total, {"first_order": tuple(first.tolist()), "variance": variance, "runs": runs})
            )
        return answers


def designs(features: int, points: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two designs (points, features) in 0..1: the halves of a scrambled Sobol sequence of twice as many dimensions."""
    from scipy.stats import qmc

    drawn = qmc.Sobol(2 * features, scramble=True, rng=np.random.default_rng(seed)).random(points)
    return drawn[:, :features], drawn[:, features:]


def indices(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Total indices (F,), first-order indices (F,) and the score's variance, from the scores a, b (D,) and c (F, D).

    The first-order ones are estimated as A. Saltelli, P. Annoni, I. Azzini, F. Campolongo, M. Ratto and S. Tarantola,
    "Variance based sensitivity analysis of model output", Computer Physics Communications 181, 2010, table 2 (b), with
    the mean taken off b.
    """
    variance = float(a.var(ddof=1))
    if variance <= 1e-24 * max(1.0, float(np.abs(a).max()) ** 2):
        return np.zeros(len(c)), np.zeros(len(c)), 0.0
    total = ((a - c) ** 2).mean(axis=1) / (2 * variance)
    first = ((b - b.mean()) * (c - a)).mean(axis=1) / variance
    return total, first, variance
