"""Phases only, under the magnitudes of real images.

T. Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization", NeurIPS
2023. Their magnitudes are ImageNet's; here they are those of any images: the user's own are the right ones for X-rays,
tiles, gray or multispectral input.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernels.resize import resize
from ...errors import MethodError
from ...methods.options import option
from ..canvas import Canvas
from ..fourier import extended, painted_size, planes_of, spectrum_of, twice
from ..parametrisation import Painter, Parametrisation, parametrisation
from ..transforms.moves import Crop
from ..transforms.noise import Noise


@parametrisation("maco")
@dataclass(frozen=True)
class Maco(Parametrisation):
    """Phases of the spectrum; its magnitudes are the mean ones of images, and stay."""

    spectrum: Any = option(  # noqa: RUF009
        None, "Images, uint8 (N, H, W, 3) or (N, C, H, W) of numbers in 0..1, or a list of such."
    )

    optimiser = "nadam:rate=0.3"
    transforms = (Crop(), Noise())
    views = 4
    larger = 1.4

    def __post_init__(self) -> None:
        """The images are checked where the number of channels is known."""

    @property
    def keeps_transparency(self) -> bool:
        return True

    def on(self, canvas: Canvas, threads: int | None = None) -> Painter:
        if self.spectrum is None or len(self.spectrum) == 0:
            raise MethodError("maco needs images for its spectrum: give some with spectrum=")
        return _MacoPainter(canvas, threads, self)


@dataclass(frozen=True)
class _MacoPainter(Painter):
    """Values float32 (N, C, H, W // 2 + 1), H and W those of `painted_size`: phases."""

    settings: Maco

    @functools.cached_property
    def _spectrum(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(C, H, W // 2 + 1), the mean magnitude over all images in the space of decorrelated colours before the
        sigmoid, 0 for the mean colour; and that, (C, 1, 1), which no phase turns."""
        canvas = self.canvas.with_size(painted_size(self.canvas.size))
        total = np.zeros((canvas.channels, canvas.size[0], canvas.size[1] // 2 + 1))
        colour = np.zeros((canvas.channels, 1, 1))
        for image in self.settings.spectrum:
            planes = self.decorrelated(np.clip(_picture(np.asarray(image), canvas), _DARK, 1 - _DARK))
            mean = planes.mean(axis=(1, 2), keepdims=True)
            total += np.abs(np.fft.rfft2(planes - mean, norm="ortho"))
            colour += mean
        count = np.float32(len(self.settings.spectrum))
        return (total / count).astype(np.float32), (colour / count).astype(np.float32)

    @property
    def _magnitude(self) -> NDArray[np.float32]:
        return self._spectrum[0]

    def start(self, rng: np.random.Generator) -> NDArray[np.float32]:
        return rng.uniform(-np.pi, np.pi, self._magnitude.shape).astype(np.float32)

    def values_of(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.angle(np.fft.rfft2(extended(self.decorrelated(picture)))).astype(np.float32)

    def _coefficients(self, values: NDArray[np.float32]) -> NDArray[np.complex64]:
        found = np.empty(values.shape, np.complex64)
        np.multiply(np.cos(values), self._magnitude, out=found.real)
        np.multiply(np.sin(values), self._magnitude, out=found.imag)
        return found

    def plain(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return planes_of(self._coefficients(values), self.canvas.size) + self._spectrum[1]

    def pull(self, values: NDArray[np.float32], cotangents: NDArray[np.float32]) -> NDArray[np.float32]:
        """X = m exp(ip): dL/dp = Re(conj(G) iX) with G the gradient by X, of which the half spectrum counts twice."""
        spectrum = spectrum_of(cotangents) * twice(painted_size(self.canvas.size)[1])
        coefficients = self._coefficients(values)
        found = spectrum.imag * coefficients.real - spectrum.real * coefficients.imag
        return np.asarray(found, np.float32)


# Black and white lie far out before the sigmoid: without a limit a few pixels would make up the spectrum.
_DARK = 0.05


def _picture(image: NDArray[Any], canvas: Canvas) -> NDArray[np.float32]:
    """(C, H, W) in 0..1 of the canvas's size: the largest part of its shape, from the middle. Raises MethodError."""
    planes = image.transpose(2, 0, 1) / 255.0 if image.dtype == np.uint8 and image.ndim == 3 else image
    if planes.ndim != 3 or (planes.shape[0] not in (3, canvas.channels)):
        raise MethodError(
            f"an image of shape {list(image.shape)} has no spectrum for {canvas.channels} channels: give uint8 "
            "(H, W, 3) or numbers in 0..1 (C, H, W)"
        )
    height, width = planes.shape[1:]
    factor = min(height / canvas.size[0], width / canvas.size[1])
    top, left = (max(0.0, (side - size * factor) / 2) for side, size in zip((height, width), canvas.size, strict=True))
    box = (top, left, height - top, width - left)
    pixels = np.ascontiguousarray(planes.transpose(1, 2, 0), np.float32)
    part = np.asarray(resize(pixels, canvas.size, region=box), np.float32).transpose(2, 0, 1)
    if canvas.channels == 1 and len(part) == 3:
        part = part.mean(axis=0, keepdims=True)
    if len(part) != canvas.channels:
        raise MethodError(
            f"images of {len(part)} channels have no spectrum for {canvas.channels}: give arrays (C, H, W)"
        )
    return np.asarray(np.clip(part, 0, 1), np.float32)
