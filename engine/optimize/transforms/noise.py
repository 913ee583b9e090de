"""Noise on what is seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...methods.options import option
from ..transform import Moment, Transform, transform


@transform("noise")
@dataclass(frozen=True)
class Noise(Transform):
    """Adds normal noise, in units of the picture's 0..1."""

    deviation: float = option(0.02, "Standard deviation.", low=0.0, high=1.0)

    def noise(self, rng: np.random.Generator, moment: Moment, channels: int) -> NDArray[np.float32] | None:
        drawn = rng.standard_normal((channels, *moment.size), np.float32)
        return np.asarray(drawn * np.float32(self.deviation), np.float32)
