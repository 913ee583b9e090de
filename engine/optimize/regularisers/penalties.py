"""Total variation, L1 and L2 around mid gray, and what a blur takes away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...methods.options import option
from ..regulariser import Regulariser, regulariser

Penalty = tuple[NDArray[np.float64], NDArray[np.float32]]


@regulariser("tv")
@dataclass(frozen=True)
class TotalVariation(Regulariser):
    """Mean square of the differences of neighbouring pixels (A. Mahendran and A. Vedaldi, CVPR 2015)."""

    weight: float = option(1.0, "The weight.", low=0.0)

    def penalty(self, pictures: NDArray[np.float32]) -> Penalty:
        gradient = np.zeros_like(pictures)
        total = np.zeros(len(pictures))
        factor = np.float32(self.weight / pictures[0].size)
        for axis in (2, 3):
            step = np.diff(pictures, axis=axis)
            total += factor * np.square(step, dtype=np.float64).sum(axis=(1, 2, 3))
            ahead = [slice(None)] * 4
            behind = [slice(None)] * 4
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            gradient[tuple(ahead)] += 2 * factor * step
            gradient[tuple(behind)] -= 2 * factor * step
        return total, gradient


@regulariser("l1")
@dataclass(frozen=True)
class L1(Regulariser):
    """Mean distance from mid gray."""

    weight: float = option(1.0, "The weight.", low=0.0)

    def penalty(self, pictures: NDArray[np.float32]) -> Penalty:
        factor = np.float32(self.weight / pictures[0].size)
        away = pictures - np.float32(0.5)
        return factor * np.abs(away).sum(axis=(1, 2, 3), dtype=np.float64), factor * np.sign(away)


@regulariser("l2")
@dataclass(frozen=True)
class L2(Regulariser):
    """Mean square of the distance from mid gray."""

    weight: float = option(1.0, "The weight.", low=0.0)

    def penalty(self, pictures: NDArray[np.float32]) -> Penalty:
        factor = np.float32(self.weight / pictures[0].size)
        away = pictures - np.float32(0.5)
        return factor * np.square(away, dtype=np.float64).sum(axis=(1, 2, 3)), 2 * factor * away


@regulariser("blur")
@dataclass(frozen=True)
class Blur(Regulariser):
    """Mean square of what a Gaussian blur takes away (after J. Yosinski et al., arXiv:1506.06579)."""

    weight: float = option(1.0, "The weight.", low=0.0)
    sigma: float = option(1.0, "Standard deviation of the blur in pixels.", low=0.01)

    def penalty(self, pictures: NDArray[np.float32]) -> Penalty:
        """In the frequencies, where the blur is a product: what is left is a product with 1 - G, and symmetric."""
        height, width = pictures.shape[2:]
        square = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
        kept = (1 - np.exp(-2 * (np.pi * self.sigma) ** 2 * square)).astype(np.float32)
        factor = np.float32(self.weight / pictures[0].size)
        spectrum = np.fft.rfft2(pictures) * kept
        rest = np.fft.irfft2(spectrum, s=(height, width))
        twice = np.fft.irfft2(spectrum * kept, s=(height, width))
        penalty = factor * np.square(rest, dtype=np.float64).sum(axis=(1, 2, 3))
        return penalty, np.asarray(2 * factor * twice, np.float32)
