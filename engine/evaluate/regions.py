"""Regions of an image that metrics hide: squares of a grid, random sets of pixels, and what hiding them costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import Case


def squares(plane: tuple[int, int], side: int) -> NDArray[np.int64]:
    """(H, W): the number of the square of `side` pixels that each pixel lies in, row by row."""
    down, across = np.arange(plane[0]) // side, np.arange(plane[1]) // side
    return np.asarray(down[:, None] * (across[-1] + 1) + across)


def sums(values: NDArray[np.float64], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,): the sum of the values (H, W) in each region."""
    return np.asarray(np.bincount(regions.ravel(), values.ravel()), np.float64)


def random_sets(case: Case, size: int, count: int) -> NDArray[np.int64]:
    """(count, size): pixels drawn without repetition, by their number in reading order."""
    draw, pixels = case.generator(), case.falling.size
    return np.stack([draw.choice(pixels, size, replace=False) for _ in range(count)])


def drops_without(case: Case, sets: NDArray[np.int64], fill: NDArray[Any]) -> NDArray[np.float64]:
    """(B,): how far the score falls when each set of pixels, (B, n), is hidden."""

    def hidden(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        masks = np.zeros((len(numbers), case.falling.size), np.bool_)
        np.put_along_axis(masks, sets[numbers], True, axis=1)
        return masks.reshape(-1, *case.plane)

    return case.score - case.scores(len(sets), case.hidden(hidden, fill))
