"""The half spectrum of a real picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frequencies(size: tuple[int, int]) -> NDArray[np.float64]:
    """Of the half spectrum (H, W // 2 + 1), in cycles per pixel."""
    found: NDArray[np.float64] = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
    return found


def twice(width: int) -> NDArray[np.float32]:
    """How many coefficients of the whole spectrum each column of the half one stands for."""
    count = np.full(width // 2 + 1, 2, np.float32)
    count[0] = 1
    if width % 2 == 0:
        count[-1] = 1
    return count
