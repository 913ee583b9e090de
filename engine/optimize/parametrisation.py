"""Parametrisations: from the values that are optimised to pictures (N, C, H, W) in 0..1, and cotangents back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernels.ascent import colours, uncolour
from .canvas import Canvas
from .registry import Part, Registry
from .transform import Transform

# Square root of the covariance of colours of ImageNet's pixels, the largest of its columns of length 1 (Lucid, Apache
# 2.0): values that vary independently become colours that vary together, as those of photographs do.
_SQRT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOURS = (_SQRT / np.linalg.norm(_SQRT, axis=0).max()).astype(np.float32)


def mixing(channels: int) -> NDArray[np.float32]:
    """The matrix (C, C) from decorrelated values to channels: of colours for three, else each channel by itself."""
    return COLOURS if channels == 3 else np.eye(channels, dtype=np.float32)


@dataclass(frozen=True)
class Painter:
    """A parametrisation at work on a canvas. All arrays are float32; values are (N, ...)."""

    canvas: Canvas
    threads: int | None

    def start(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Values (...) of one picture of noise."""
        raise TypeError(f"{type(self).__name__} defines no start")

    def values_of(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (...) of one picture (C, H, W) in 0..1."""
        raise TypeError(f"{type(self).__name__} defines no values_of")

    def plain(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decorrelated planes (N, C, H, W) of values."""
        raise TypeError(f"{type(self).__name__} defines no plain")

    def pull(self, values: NDArray[np.float32], cotangents: NDArray[np.float32]) -> NDArray[np.float32]:
        """The adjoint of `plain` at `values`."""
        raise TypeError(f"{type(self).__name__} defines no pull")

    def pictures(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pictures (N, C, H, W) in 0..1."""
        return colours(self.plain(values), mixing(self.canvas.channels), threads=self.threads)

    def gradient(
        self, values: NDArray[np.float32], pictures: NDArray[np.float32], cotangents: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """From cotangents of the pictures, which are those of `values`, to those of the values."""
        planes = uncolour(cotangents, pictures, mixing(self.canvas.channels), threads=self.threads)
        return self.pull(values, planes)

    def decorrelated(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """The planes (C, H, W) that make the picture."""
        inside = np.clip(picture.astype(np.float64), EDGE, 1 - EDGE)
        logits = np.log(inside) - np.log1p(-inside)
        inverse = np.linalg.inv(mixing(self.canvas.channels).astype(np.float64))
        return np.asarray(np.tensordot(inverse, logits, 1), np.float32)


# Black and white of a photograph lie at infinity before the sigmoid: half of a level of gray instead.
EDGE = 0.5 / 255


class Parametrisation(Part):
    """Base of every parametrisation."""

    # What suits it, unless something else is asked for; None: the default transforms.
    optimiser: ClassVar[str] = "adam"
    transforms: ClassVar[tuple[Transform, ...] | None] = None
    views: ClassVar[int] = 1
    # How much larger its pictures are than what the network sees, where nothing is said.
    larger: ClassVar[float] = 1.0

    def on(self, canvas: Canvas, threads: int | None = None) -> Painter:
        """At work on a canvas. Raises MethodError where it lacks something."""
        raise TypeError(f"{type(self).__name__} defines no on")

    @property
    def keeps_transparency(self) -> bool:
        """Whether its pictures come with a map of where the objective was at work."""
        return False


PARAMETRISATIONS: Registry[Parametrisation] = Registry("parametrisation", "parametrisations")


def parametrisation(name: str) -> Any:
    """Class decorator: register a parametrisation."""
    return PARAMETRISATIONS.register(name)
