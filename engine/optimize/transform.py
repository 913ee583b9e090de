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
    """A step: its number from 0, how many there are, and the (height, width) that the network sees."""

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


def matrix_of(
    transforms: Sequence[Transform], rng: np.random.Generator, moment: Moment, size: tuple[int, int]
) -> Matrix:
    """The affine map (2, 3) of all moves, from what the network sees to a picture of `size`, which fills it at rest.

    The first transform acts on the picture first.
    """
    whole = _centre(size) @ np.diag([size[0] / moment.size[0], size[1] / moment.size[1], 1.0])
    for part in transforms:
        move = part.move(rng, moment)
        if move is not None:
            whole = whole @ move
    found: Matrix = (whole @ np.linalg.inv(_centre(moment.size)))[:2]
    return found


def _centre(size: tuple[int, int]) -> Matrix:
    return np.array([[1, 0, (size[0] - 1) / 2], [0, 1, (size[1] - 1) / 2], [0, 0, 1]])


def noise_of(
    transforms: Sequence[Transform], rng: np.random.Generator, moment: Moment, channels: int
) -> NDArray[np.float32] | None:
    """The sum of all noise, (C, H, W), None where there is none."""
    parts = [n for part in transforms if (n := part.noise(rng, moment, channels)) is not None]
    return sum(parts[1:], parts[0]) if parts else None
