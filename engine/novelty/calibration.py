"""The threshold for a stated rate of false alarms, out of the scores of good images that the memory does not hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# How sure an interval is.
CONFIDENCE = 0.95
# Images in the memory below which it is called small, whatever they look like.
_FEW = 20
# By how much scores may rise where half of the images are left out.
_UNSTABLE = 0.10


@dataclass(frozen=True)
class Calibration:
    """What the held-out good images say.

    Attributes:
        threshold: images whose score is above are novel.
        rate: of false alarms that was asked for, 0 to 1. interval: (low, high), between which the true rate of the
            threshold lies with 95 % confidence (C. Clopper and E. Pearson, 1934).
        held_out: how many good images were held out, `above` of them score above the threshold.
        reached: whether they are enough for the rate: 1 / rate - 1 images at least.
        images: how many good images the memory was made of.
        growth: by what share the held-out images' median score rises where the memory is made of half of the images;
            NaN where it cannot be known.
    """

    threshold: float
    rate: float
    interval: tuple[float, float]
    held_out: int
    above: int
    reached: bool
    images: int
    growth: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against relying on the memory, one line each."""
        found = []
        if not self.reached:
            found.append(
                f"too few images for a false-alarm rate of {_share(self.rate)}: that takes {needed(self.rate)} "
                f"held-out good images, there are {self.held_out}; the threshold is their highest score, with which "
                f"between {_share(self.interval[0])} and {_share(self.interval[1])} of good images raise an alarm"
            )
        if self.images < _FEW:
            found.append(
                f"too few images: {self.images} good images in the memory do not show what good images look like; "
                "give 40 or more"
            )
        elif self.growth > _UNSTABLE:
            found.append(
                f"too few images: with half of them, held-out good images score {_share(self.growth)} higher, so what "
                "good images look like is not known yet; give more, or images of one surface at a time"
            )
        return tuple(found)


def needed(rate: float) -> int:
    """How many held-out images a rate of false alarms takes at least."""
    return math.ceil(1 / rate - 1 - 1e-9)


def calibrate(scores: ArrayLike, rate: float, images: int, growth: float = math.nan) -> Calibration:
    """scores: (n,), of held-out good images, n at least 1. rate: asked for, between 0 and 1.

    The threshold is the k-th lowest score, k = ceil((n + 1) (1 - rate)), or the highest where that is not enough: then
    an exchangeable good image is above it with a probability of at most `rate` (V. Vovk, "Conditional validity of
    inductive conformal predictors", 2012).
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    n = len(ordered)
    k = math.ceil((n + 1) * (1 - rate) - 1e-9)
    threshold = float(ordered[min(k, n) - 1])
    above = int((ordered > threshold).sum())
    return Calibration(threshold, rate, clopper_pearson(above, n), n, above, k <= n, images, growth)


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high) of a probability of which so many of so many trials came true: Clopper and Pearson's interval."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return low, high


def growth_of(whole: NDArray[np.float64], halves: list[NDArray[np.float64]]) -> float:
    """By what share the median score of the same images (n,) rises from the whole memory to those of its halves."""
    middle = float(np.median(whole)) if len(whole) else 0.0
    if not halves or not middle > 0:
        return math.nan
    return float(np.mean([np.median(half) for half in halves])) / middle - 1


def _share(value: float) -> str:
    percent = 100 * value
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.2g} %"
