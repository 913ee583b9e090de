"""Sounds at another rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def resampled(samples: NDArray[np.float32], rate: int, to: int) -> NDArray[np.float32]:
    """(T,) at `rate` -> (T',) at `to` samples per second, by a polyphase filter (scipy.signal.resample_poly)."""
    if rate == to:
        return samples
    from scipy.signal import resample_poly

    shared = math.gcd(rate, to)
    return np.asarray(resample_poly(samples.astype(np.float64), to // shared, rate // shared), np.float32)
