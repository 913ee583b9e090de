"""Plain pixels: the picture itself is optimised. A control more than a recipe: patterns of high frequency win."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...methods.options import option
from ..canvas import Canvas
from ..parametrisation import Painter, Parametrisation, parametrisation


@parametrisation("pixels")
@dataclass(frozen=True)
class Pixels(Parametrisation):
    """The pixels themselves, with decorrelated colours: shows mostly patterns that only the network sees."""

    deviation: float = option(0.01, "Standard deviation of the noise at the start.", low=0.0)

    def on(self, canvas: Canvas, threads: int | None = None) -> Painter:
        return _PixelPainter(canvas, threads, self.deviation)


@dataclass(frozen=True)
class _PixelPainter(Painter):
    """Values float32 (N, C, H, W)."""

    deviation: float

    def start(self, rng: np.random.Generator) -> NDArray[np.float32]:
        shape = (self.canvas.channels, *self.canvas.size)
        return (rng.standard_normal(shape) * self.deviation).astype(np.float32)

    def values_of(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.decorrelated(picture)

    def plain(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values

    def pull(self, values: NDArray[np.float32], cotangents: NDArray[np.float32]) -> NDArray[np.float32]:
        return cotangents
