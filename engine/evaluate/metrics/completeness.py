"""Completeness: do the contributions add up to the score?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...attribution.baselines import NAMES
from ...errors import MethodError
from ...methods.options import option
from ..case import Case
from ..registry import Better, Measured, Metric, Needs, metric


@metric("completeness")
@dataclass(frozen=True)
class Completeness(Metric):
    """How far the sum of a map of contributions is from the score less that of a baseline, relative to it.

    |sum of the values - (f(x) - f(b))| / |f(x) - f(b)|, for methods whose values are contributions of the input
    (integrated gradients, input x gradient, relevance propagation).
    """

    baseline: str = option("zero", "The input b that contributions are counted from.", choices=NAMES)
    better: ClassVar[Better] = "lower"
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "0 to infinity"
    paper: ClassVar[str] = (
        'M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, section 3'
    )
    weakness: ClassVar[str] = "a map may add up and still share the sum out wrongly"

    def __call__(self, case: Case) -> Measured:
        e = case.explanation
        if e.reduce != "sum" or e.display != "signed":
            raise MethodError(f"the values of {e.method} are no contributions: they need not add up to the score")
        known = e.details.get("completeness_relative_error")
        if known is not None:
            return Measured(float(known))
        fill = case.fill(self.baseline)

        def make(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.repeat(fill[None], len(numbers), axis=0)

        due = case.score - float(case.scores(1, make)[0])
        if due == 0:
            raise MethodError("the score is that of the baseline: there is nothing to add up to")
        return Measured(abs(float(e.values.sum(dtype=np.float64)) - due) / abs(due))
