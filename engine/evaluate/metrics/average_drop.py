"""Average drop, increase and gain: the probability when only what the map shows is left of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..case import Case
from ..registry import Better, Measured, Metric, Needs, metric

_PAPER = (
    'A. Chattopadhyay, A. Sarkar, P. Howlader and V. N. Balasubramanian, "Grad-CAM++: Generalized Gradient-based '
    'Visual Explanations for Deep Convolutional Networks", WACV 2018, section 5.1'
)
_WEAKNESS = "the image times a map is unlike any image, and a map that is 1 everywhere is perfect"


@dataclass(frozen=True)
class _Masked(Metric):
    needs: ClassVar[Needs] = "runs"
    range: ClassVar[str] = "0 to 1"
    paper: ClassVar[str] = _PAPER
    weakness: ClassVar[str] = _WEAKNESS

    def _both(self, case: Case) -> tuple[float, float]:
        """The class's probability for the image, and for the image times the map."""
        return case.probability, masked_probability(case)


@metric("average-drop")
@dataclass(frozen=True)
class AverageDrop(_Masked):
    """The part of the probability that is lost when the input is multiplied by the map.

    max(0, p - o) / p, with o the class's probability for the network's input times the map, whose positive part is
    scaled to 0 ... 1 (the definition of torch-cam).
    """

    better: ClassVar[Better] = "lower"

    def __call__(self, case: Case) -> Measured:
        p, o = self._both(case)
        return Measured(max(0.0, p - o) / p if p > 0 else 0.0)


@metric("increase")
@dataclass(frozen=True)
class Increase(_Masked):
    """1 if the probability rises when the input is multiplied by the map, else 0: 1[o > p]."""

    def __call__(self, case: Case) -> Measured:
        p, o = self._both(case)
        return Measured(float(o > p))


@metric("average-gain")
@dataclass(frozen=True)
class AverageGain(_Masked):
    """The part of what was missing to certainty that the map's input gains: max(0, o - p) / (1 - p)."""

    paper: ClassVar[str] = (
        'H. Zhang, F. Torres, R. Sicre, Y. Avrithis and S. Ayache, "Opti-CAM: Optimizing saliency maps for '
        'interpretability", CVIU 248, 2024, section 4.2'
    )

    def __call__(self, case: Case) -> Measured:
        p, o = self._both(case)
        return Measured(max(0.0, o - p) / (1 - p) if p < 1 else 0.0)


def masked_probability(case: Case) -> float:
    """The class's probability for the input times the map, its positive part scaled to 0 ... 1."""
    heat = np.maximum(case.relevance, 0)
    low, high = heat.min(), heat.max()
    share = (heat - low) / (high - low) if high > low else np.ones_like(heat)
    x = case.sample * case.over_plane(share[None])[0]
    x = (np.rint(x) if case.sample.dtype.kind in "iu" else x).astype(case.sample.dtype)

    def make(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.repeat(x[None], len(numbers), axis=0)

    return float(case.probabilities(1, make)[0])
