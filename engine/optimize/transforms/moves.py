"""Moves of the whole picture: shifted, scaled, turned, with a border, mirrored, cropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import MethodError
from ...methods.options import option
from ..transform import Matrix, Moment, Transform, transform


@transform("jitter")
@dataclass(frozen=True)
class Jitter(Transform):
    """Shifts the picture by up to so many pixels, both ways."""

    pixels: float = option(8.0, "The farthest shift in pixels.", low=0.0)

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        y, x = rng.integers(-int(self.pixels), int(self.pixels) + 1, 2)
        return np.array([[1, 0, y], [0, 1, x], [0, 0, 1]], np.float64)


@transform("scale")
@dataclass(frozen=True)
class Scale(Transform):
    """Scales the picture by a random factor."""

    low: float = option(0.9, "The least factor.", low=0.01)
    high: float = option(1.1, "The greatest factor.", low=0.01)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise MethodError(f"scale from {self.low:g} to {self.high:g} is not a range: give the lower factor first")

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        factor = rng.uniform(self.low, self.high)
        return np.diag([1 / factor, 1 / factor, 1.0])


@transform("rotate")
@dataclass(frozen=True)
class Rotate(Transform):
    """Turns the picture by up to so many degrees, both ways."""

    degrees: float = option(10.0, "The farthest turn in degrees.", low=0.0, high=180.0)

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees))
        cos, sin = np.cos(angle), np.sin(angle)
        return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


@transform("pad")
@dataclass(frozen=True)
class Pad(Transform):
    """Shows the picture smaller, with a gray border of so many pixels."""

    pixels: float = option(12.0, "The width of the border in pixels.", low=0.0)

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        height, width = moment.size
        return np.diag([1 + 2 * self.pixels / height, 1 + 2 * self.pixels / width, 1.0])


@transform("mirror")
@dataclass(frozen=True)
class Mirror(Transform):
    """Mirrors the picture left to right, half of the time."""

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        return np.diag([1.0, -1.0 if rng.random() < 0.5 else 1.0, 1.0])


@transform("crop")
@dataclass(frozen=True)
class Crop(Transform):
    """Shows a random part of the picture, whose side shrinks from `first` to `last` of the picture's.

    T. Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization",
    NeurIPS 2023.
    """

    first: float = option(0.5, "The part's side at the first step, as a share of the picture's.", low=0.01, high=1.0)
    last: float = option(0.2, "The part's side at the last step, as a share of the picture's.", low=0.01, high=1.0)
    spread: float = option(0.05, "Standard deviation of that share.", low=0.0, high=0.5)

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        share = self.first + (self.last - self.first) * moment.progress
        share = float(np.clip(share + self.spread * rng.standard_normal(), 0.05, 1.0))
        # Parts lie anywhere inside, those of the middle a little more often.
        room = (1 - share) / 2
        y, x = np.clip(rng.normal(0, 0.15, 2), -room, room) * moment.size
        return np.array([[share, 0, y], [0, share, x], [0, 0, 1]])
