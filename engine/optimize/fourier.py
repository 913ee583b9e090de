"""The half spectrum of a real picture.

A transform takes several times as long where a side has a large prime factor. Such pictures are the upper left part of
one whose sides have none.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

# Up to here a prime factor costs no more than the pixels that would be added to avoid it (measured, numpy's pocketfft).
_LARGEST_PRIME = 31


def painted_size(size: tuple[int, int]) -> tuple[int, int]:
    """The next (height, width) whose prime factors are all at most 31; `size` itself where its factors are."""
    height, width = (next(n for n in itertools.count(side) if _is_fast(n)) for side in size)
    return height, width


def _is_fast(side: int) -> bool:
    """Whether the side divides a power of 31!, and so has no larger prime factor."""
    return pow(math.factorial(_LARGEST_PRIME), 16, side) == 0


def planes_of(spectrum: NDArray[np.complex64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Planes (..., *size) of the half spectra of planes of `painted_size(size)`: their upper left part."""
    whole = np.fft.irfft2(spectrum, s=painted_size(size), norm="ortho")
    return np.ascontiguousarray(whole[..., : size[0], : size[1]], np.float32)


def spectrum_of(cotangents: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Half spectra of cotangents (..., H, W) with zeros around: times `twice`, the adjoint of `planes_of`."""
    spectrum = np.fft.rfft2(cotangents, s=painted_size(cotangents.shape[-2:]), norm="ortho")
    return spectrum.astype(np.complex64, copy=False)


def extended(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Planes (..., H, W) of `painted_size`: their last row and column are repeated."""
    more = [(0, longer - side) for longer, side in zip(painted_size(planes.shape[-2:]), planes.shape[-2:], strict=True)]
    return np.pad(planes, [(0, 0)] * (planes.ndim - 2) + more, mode="edge")


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
