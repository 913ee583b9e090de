"""Fourier coefficients scaled by frequency, as in Lucid (C. Olah et al., "Feature Visualization", Distill 2017).

A step of the optimiser then moves all frequencies alike, as measured by their share in photographs: no high-frequency
patterns that only the network sees. Only half of the spectrum is kept; the picture is real.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...methods.options import option
from ..canvas import Canvas
from ..fourier import extended, frequencies, painted_size, planes_of, spectrum_of, twice
from ..parametrisation import Painter, Parametrisation, parametrisation


@parametrisation("fourier")
@dataclass(frozen=True)
class Fourier(Parametrisation):
    """Coefficients of the half spectrum, divided by their frequency, with decorrelated colours."""

    deviation: float = option(0.01, "Standard deviation of the coefficients of the noise at the start.", low=0.0)
    decay: float = option(1.0, "The power of the frequency that coefficients are divided by.", low=0.0, high=3.0)

    def on(self, canvas: Canvas, threads: int | None = None) -> Painter:
        return FourierPainter(canvas, threads, self.deviation, self.decay)


@dataclass(frozen=True)
class FourierPainter(Painter):
    """Values float32 (N, C, H, W // 2 + 1, 2), H and W those of `painted_size`: real and imaginary parts."""

    deviation: float
    decay: float

    @functools.cached_property
    def _scale(self) -> NDArray[np.float32]:
        size = painted_size(self.canvas.size)
        return (np.maximum(frequencies(size), 1 / max(size)) ** -self.decay / 4).astype(np.float32)

    # For real and imaginary parts: a product of float32 costs a fraction of one of complex numbers.
    @functools.cached_property
    def _made(self) -> NDArray[np.float32]:
        return np.repeat(self._scale[..., None], 2, axis=2)

    @functools.cached_property
    def _pulled(self) -> NDArray[np.float32]:
        return np.repeat((self._scale * twice(painted_size(self.canvas.size)[1]))[..., None], 2, axis=2)

    def start(self, rng: np.random.Generator) -> NDArray[np.float32]:
        shape = (self.canvas.channels, *self._scale.shape, 2)
        return (rng.standard_normal(shape) * self.deviation).astype(np.float32)

    def values_of(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = np.fft.rfft2(extended(self.decorrelated(picture)), norm="ortho") / self._scale
        return np.ascontiguousarray(spectrum.astype(np.complex64)).view(np.float32).reshape(*spectrum.shape, 2)

    def plain(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = (values * self._made).view(np.complex64)[..., 0]
        return planes_of(spectrum, self.canvas.size)

    def pull(self, values: NDArray[np.float32], cotangents: NDArray[np.float32]) -> NDArray[np.float32]:
        spectrum = spectrum_of(cotangents)
        parts = spectrum.view(np.float32).reshape(*spectrum.shape, 2)
        parts *= self._pulled
        return parts
