"""The frequencies of the bands of a spectrogram, as its card says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hz -> mel, as HTK counts: 2595 log10(1 + f / 700)."""
    return np.asarray(2595 * np.log10(1 + hz / 700))


def band_frequencies(said: Mapping[str, int], count: int) -> NDArray[np.float64]:
    """(count,): the middle of each band in Hz. With "mel", bands are even in mel between "low" and "high" (0 and half
    the rate), their middles as those of a bank of triangles; else even in Hz, as of a Fourier transform."""
    low, high = float(said.get("low", 0)), float(said.get("high", said["rate"] / 2))
    if not said.get("mel"):
        return np.linspace(low, high, count)
    ends = mel(np.array([low, high]))
    even = np.linspace(ends[0], ends[1], count + 2)[1:-1]
    return np.asarray(700 * (10 ** (even / 2595) - 1))
