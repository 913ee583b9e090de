"""Monotonicity: does the score rise with every step as pixels come in, the least relevant first?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...attribution.baselines import NAMES
from ...methods.options import option
from ..case import Case
from ..registry import Curve, Measured, Metric, Needs, metric


@metric("monotonicity")
@dataclass(frozen=True)
class Monotonicity(Metric):
    """The share of steps at which the probability does not fall while pixels come in, the least relevant first.

    (1 / n) * number of i with p_i >= p_(i-1), with p_i the class's probability for a fill in which the i * H * W / n
    least relevant pixels are those of the image. The paper asks whether all steps are such; the share says more.
    """

    steps: int = option(32, "Steps.", low=1)
    fill: str = option("blur", "What pixels are put into.", choices=NAMES)
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "0 to 1"
    paper: ClassVar[str] = (
        'V. Arya et al., "One Explanation Does Not Fit All: A Toolkit and Taxonomy of AI Explainability Techniques", '
        "arXiv:1909.03012, 2019, section 4"
    )
    weakness: ClassVar[str] = "steps that change nothing count as rises, and the size of a step does not count at all"

    def __call__(self, case: Case) -> Measured:
        pixels = case.falling.size
        rank = np.empty(pixels, np.int64)
        rank[case.falling[::-1]] = np.arange(pixels)
        ranked = rank.reshape(case.plane)

        def hidden(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.asarray(ranked >= (numbers * pixels // self.steps)[:, None, None])

        p = case.probabilities(self.steps + 1, case.hidden(hidden, case.fill(self.fill)))
        return Measured(float((np.diff(p) >= 0).mean()), Curve(np.linspace(0, 1, self.steps + 1), p))
