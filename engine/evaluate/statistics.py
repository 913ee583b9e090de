"""From values per image to a mean with an interval, and to the difference of two methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
# Of the means in an interval.
COVERED = 0.95


@dataclass(frozen=True)
class Aggregate:
    """The mean over `count` images, and the ends of its 95 % bootstrap interval, NaN each for a single image."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Comparison:
    """Method a against method b on the images that both have a value for.

    difference: mean of a - b; low, high: the ends of its 95 % bootstrap interval; wins: the share of images on which a
    is the better one, ties counting half; p: how often signs drawn at random give a mean difference of this size
    (two-sided paired permutation test); count: images.
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    wins: float
    p: float
    count: int


def resamples(count: int, seed: int = 0, draws: int = RESAMPLES) -> NDArray[np.int64]:
    """(draws, count): images drawn with repetition."""
    return np.random.default_rng(seed).integers(0, count, (draws, count))


def aggregate(values: ArrayLike, seed: int = 0) -> Aggregate:
    """Of finite values (N,), N at least 1. B. Efron, "Bootstrap Methods", Annals of Statistics 7, 1979: percentiles."""
    found = np.asarray(values, np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return Aggregate(mean, np.nan, np.nan, len(found))
    low, high = _interval(found, seed)
    return Aggregate(mean, low, high, len(found))


def _interval(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    means = values[resamples(len(values), seed)].mean(axis=1)
    low, high = np.quantile(means, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def compared(
    a: tuple[str, ArrayLike], b: tuple[str, ArrayLike], metric: str, higher_is_better: bool, seed: int = 0
) -> Comparison:
    """Two methods by name with their values (N,), image by image; NaN where there is none. Raises ValueError without
    an image that both have a value for.
    """
    first, second = np.asarray(a[1], np.float64), np.asarray(b[1], np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        raise ValueError(f"{a[0]} and {b[0]} share no image with a value of {metric}")
    difference = (first - second)[both]
    count = len(difference)
    low, high = _interval(difference, seed) if count > 1 else (np.nan, np.nan)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (RESAMPLES, count))
    drawn = np.abs((signs * difference).mean(axis=1))
    p = (1 + int((drawn >= abs(difference.mean()) - 1e-12).sum())) / (RESAMPLES + 1)
    better = difference if higher_is_better else -difference
    wins = float((better > 0).mean() + (better == 0).mean() / 2)
    return Comparison(a[0], b[0], metric, float(difference.mean()), low, high, wins, p, count)
