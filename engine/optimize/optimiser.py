"""Optimisers: how the values follow the gradient upwards; and schedules of their rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownName
from .registry import Part, Registry


class Stepper(Protocol):
    """An optimiser at work: changes `values` in place."""

    def __call__(self, values: NDArray[np.float32], gradient: NDArray[np.float32], factor: float) -> None: ...


class Optimiser(Part):
    """Base of every optimiser."""

    def on(self, values: NDArray[np.float32]) -> Stepper:
        """At work on values of that shape."""
        raise TypeError(f"{type(self).__name__} defines no on")


OPTIMISERS: Registry[Optimiser] = Registry("optimiser", "optimisers")


def optimiser(name: str) -> Any:
    """Class decorator: register an optimiser."""
    return OPTIMISERS.register(name)


# Schedule -> the factor of the rate at progress 0..1.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
    "linear": lambda t: 1 - t,
    "warmup": lambda t: min(1.0, t / 0.1 + 0.1),
}


def schedule(name: str) -> Callable[[float], float]:
    """Raises UnknownName."""
    if name not in SCHEDULES:
        raise UnknownName("schedule", name, SCHEDULES, f"there are {', '.join(SCHEDULES)}")
    return SCHEDULES[name]
