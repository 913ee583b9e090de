"""Where the level of a series changes: binary segmentation on shifts of the mean.

A. J. Scott and M. Knott, "A Cluster Analysis Method for Grouping Means in the Analysis of Variance", Biometrics 30,
1974. A stretch is cut where that lowers the sum of squares most, as long as it does so by more than noise would:
features are counted in units of their noise, which is read off the differences of neighbours, and the bound is that of
a chi-squared variable with as many degrees of freedom as there are features, over all places and stretches (B. Laurent
and P. Massart, "Adaptive estimation of a quadratic functional by model selection", Annals of Statistics 28, 2000).
"""

from __future__ import annotations

import heapq
import math

import numpy as np
from numpy.typing import NDArray

# Of the differences of neighbours: their median magnitude in units of the noise's standard deviation.
_MEDIAN = 0.6744898 * math.sqrt(2)


def change_points(x: NDArray[np.floating], most: int) -> NDArray[np.int64]:
    """The first times of the stretches, 0 among them, at most `most`, in order. x: (times, features), finite.

    Raises ValueError where `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"there is at least 1 stretch, got {most}")
    times, features = x.shape
    sums = np.concatenate([np.zeros((1, features)), np.cumsum(_scaled(np.asarray(x, np.float64)), axis=0)])
    chance = 2 * math.log(max(2, times))
    bound = features + 2 * math.sqrt(features * chance) + 2 * chance
    starts, waiting = [0], [_best(sums, 0, times)]
    while waiting and len(starts) < most:
        less, at, first, last = heapq.heappop(waiting)
        if -less <= bound:
            break
        starts.append(at)
        for part in (_best(sums, first, at), _best(sums, at, last)):
            heapq.heappush(waiting, part)
    return np.array(sorted(starts), np.int64)


def _scaled(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features in units of their noise, around 0."""
    spread = x.std(axis=0)
    steps = np.abs(np.diff(x, axis=0)) if len(x) > 1 else np.zeros_like(x)
    noise = np.median(steps, axis=0) / _MEDIAN
    return np.asarray((x - x.mean(axis=0)) / np.maximum(np.maximum(noise, 1e-3 * spread), 1e-30))


def _best(sums: NDArray[np.float64], first: int, last: int) -> tuple[float, int, int, int]:
    """What the best cut of a stretch adds to the sum of squares, which is negative; where it is; the stretch."""
    if last - first < 2:
        return 0.0, first, first, last
    before = np.arange(1, last - first)[:, None]
    after = (last - first) - before
    left = (sums[first + 1 : last] - sums[first]) / before
    right = (sums[last] - sums[first + 1 : last]) / after
    gain = ((left - right) ** 2 * (before * after / (last - first))).sum(axis=1)
    at = int(np.argmax(gain))
    return -float(gain[at]), first + 1 + at, first, last
