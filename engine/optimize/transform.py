"""Transforms: how the picture is seen in a step. All moves of a step are one affine map, so that it is sampled once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .registry import Part, Registry

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """A step: its number from 0, how many there are, and the picture's (height, width)."""

    step: int
    steps: int
    size: tuple[int, int]

    @property
    def progress(self) -> float:
        """From 0 at the first step to 1 at the last."""
        return self.step / max(1, self.steps - 1)


class Transform(Part):
    """Base of every transform."""

    def move(self, rng: np.random.Generator, moment: Moment) -> Matrix | None:
        """A matrix (3, 3): from (y, x, 1) in what the network sees to the picture, relative to its centre; or None."""
        return None

    def noise(self, rng: np.random.Generator, moment: Moment, channels: int) -> NDArray[np.float32] | None:
        """What is added to the picture that is seen, (C, H, W) in its units of 0..1; or None."""
        return None


TRANSFORMS: Registry[Transform] = Registry("transform", "transforms")


def transform(name: str) -> Any:
    """Class decorator: register a transform."""
    return TRANSFORMS.register(name)


def matrix_of(transforms: Sequence[Transform], rng: np.random.Generator, moment: Moment) -> Matrix:
    """The affine map (2, 3) of all moves: the first transform acts on the picture first."""
    height, width = moment.size
    centre = np.array([[1, 0, (height - 1) / 2], [0, 1, (width - 1) / 2], [0, 0, 1]])
    whole = centre
    for part in transforms:
        move = part.move(rng, moment)
        if move is not None:
            whole = whole @ move
    found: Matrix = (whole @ np.linalg.inv(centre))[:2]
    return found


def noise_of(
    transforms: Sequence[Transform], rng: np.random.Generator, moment: Moment, channels: int
) -> NDArray[np.float32] | None:
    """The sum of all noise, (C, H, W), None where there is none."""
    parts = [n for part in transforms if (n := part.noise(rng, moment, channels)) is not None]
    return sum(parts[1:], parts[0]) if parts else None
