"""Gradient ascent with momentum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...methods.options import option
from ..optimiser import Optimiser, Stepper, optimiser


@optimiser("sgd")
@dataclass(frozen=True)
class Sgd(Optimiser):
    """Steps of a fixed length along the gradient, with momentum; `normalised` by its root mean square per picture."""

    rate: float = option(0.05, "The length of a step.", low=0.0)
    momentum: float = option(0.9, "How much of the last step is taken again.", low=0.0, high=0.9999)
    normalised: bool = option(True, "Divide the gradient of every picture by its root mean square.")

    def on(self, values: NDArray[np.float32]) -> Stepper:
        velocity = np.zeros_like(values)

        def move(values: NDArray[np.float32], gradient: NDArray[np.float32], factor: float) -> None:
            axes = tuple(range(1, gradient.ndim))
            length = np.sqrt(np.square(gradient).mean(axis=axes, keepdims=True)) if self.normalised else 1.0
            velocity[...] = self.momentum * velocity + gradient / np.maximum(length, np.float32(1e-30))
            values += np.float32(self.rate * factor) * velocity

        return move
