"""Adam and NAdam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....kernels.ascent import adam
from ...methods.options import option
from ..optimiser import Optimiser, Stepper, optimiser


@optimiser("adam")
@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980)."""

    rate: float = option(0.1, "The learning rate.", low=0.0)
    beta1: float = option(0.9, "Decay of the mean.", low=0.0, high=0.9999)
    beta2: float = option(0.999, "Decay of the mean square.", low=0.0, high=0.999999)

    def on(self, values: NDArray[np.float32]) -> Stepper:
        return _stepper(self, values, False)


@optimiser("nadam")
@dataclass(frozen=True)
class NAdam(Optimiser):
    """Adam with Nesterov's momentum (T. Dozat, ICLR workshop 2016)."""

    rate: float = option(1.0, "The learning rate.", low=0.0)
    beta1: float = option(0.9, "Decay of the mean.", low=0.0, high=0.9999)
    beta2: float = option(0.999, "Decay of the mean square.", low=0.0, high=0.999999)

    def on(self, values: NDArray[np.float32]) -> Stepper:
        return _stepper(self, values, True)


def _stepper(settings: Adam | NAdam, values: NDArray[np.float32], nesterov: bool) -> Stepper:
    mean, square = np.zeros_like(values), np.zeros_like(values)
    betas, step = (settings.beta1, settings.beta2), 0

    def move(values: NDArray[np.float32], gradient: NDArray[np.float32], factor: float) -> None:
        nonlocal step
        step += 1
        adam(values, gradient, mean, square, step, settings.rate * factor, betas=betas, nesterov=nesterov)

    return move
