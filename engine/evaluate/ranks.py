"""Ranks and correlations of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's; 0 where one of them is the same everywhere."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of flat values, from 0; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse.reshape(-1)])


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's, of arrays of one shape; 0 where one of them is the same everywhere."""
    return correlation(ranks(a.ravel()), ranks(b.ravel()))
