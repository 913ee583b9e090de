"""Complexity: over how much of the image is the heat spread?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import MethodError
from ..case import Case
from ..registry import Better, Family, Measured, Metric, metric

_WEAKNESS = "a single hot pixel in the wrong place is as sparse as can be: it says nothing of where the heat is"


@dataclass(frozen=True)
class _Spread(Metric):
    family: ClassVar[Family] = "complexity"
    weakness: ClassVar[str] = _WEAKNESS


@metric("sparseness")
@dataclass(frozen=True)
class Sparseness(_Spread):
    """The Gini index of the heat: 0 where it is the same everywhere, near 1 where it is all in one pixel.

    G = sum over k of (2 k - n - 1) a_k / (n * sum of a), with a_k the magnitudes in rising order, k = 1 ... n.
    """

    range: ClassVar[str] = "0 to 1"
    paper: ClassVar[str] = (
        'P. Chalasani, J. Chen, A. R. Chowdhury, S. Jha and X. Wu, "Concise Explanations of Neural Networks using '
        'Adversarial Training", ICML 2020, section 5'
    )

    def __call__(self, case: Case) -> Measured:
        a = np.sort(_checked(case).ravel())
        n = a.size
        return Measured(float((2 * np.arange(1, n + 1) - n - 1) @ a / (n * a.sum())))


@metric("entropy")
@dataclass(frozen=True)
class Entropy(_Spread):
    """The entropy of the heat's distribution over the pixels, in nats: - sum of q ln q with q = a / sum of a."""

    better: ClassVar[Better] = "lower"
    range: ClassVar[str] = "0 to ln(pixels)"
    paper: ClassVar[str] = (
        'U. Bhatt, A. Weller and J. M. F. Moura, "Evaluating and Aggregating Feature-based Model Explanations", '
        "IJCAI 2020, section 3.3"
    )

    def __call__(self, case: Case) -> Measured:
        return Measured(entropy(_checked(case)))


@metric("effective-share")
@dataclass(frozen=True)
class EffectiveShare(_Spread):
    """The share of the pixels that hold the heat: exp(entropy) / pixels, 1 where it is the same everywhere."""

    better: ClassVar[Better] = "lower"
    range: ClassVar[str] = "0 to 1"
    paper: ClassVar[str] = (
        'L. Jost, "Entropy and diversity", Oikos 113, 2006 (the effective number of what an entropy counts), of the '
        "entropy of Bhatt et al. 2020"
    )

    def __call__(self, case: Case) -> Measured:
        heat = _checked(case)
        return Measured(float(np.exp(entropy(heat))) / heat.size)


def entropy(heat: NDArray[np.float64]) -> float:
    """Of heat that is not negative, in nats."""
    q = heat.ravel() / heat.sum()
    return float(-(q * np.log(np.where(q > 0, q, 1))).sum())


def _checked(case: Case) -> NDArray[np.float64]:
    if not case.heat.any():
        raise MethodError("the map has no heat")
    return case.heat
