"""Regularisers: what is taken away from the objective, a function of the picture alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .registry import Part, Registry


class Regulariser(Part):
    """Base of every regulariser. Its first option is its weight."""

    def penalty(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The penalty (N,) of pictures (N, C, H, W) in 0..1, weight included, and its gradient by them."""
        raise TypeError(f"{type(self).__name__} defines no penalty")


REGULARISERS: Registry[Regulariser] = Registry("regulariser", "regularisers")


def regulariser(name: str) -> Any:
    """Class decorator: register a regulariser."""
    return REGULARISERS.register(name)
