"""VarGrad: the variance of the gradients at noisy copies.

J. Adebayo, J. Gilmer, I. Goodfellow and B. Kim, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to
Parameter Values", ICLR workshop 2018, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from .families.noise import Noisy, emit_moments, moments
from .registry import method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("vargrad")
@dataclass(frozen=True)
class VarGrad(Noisy):
    """The variance of the gradients at noisy copies of the input: where the explanation itself is unsure."""

    def __call__(self, problem: Problem) -> Maps:
        mean, square = moments(problem, self.samples, self.noise, self.seed, square=True)
        variance = np.maximum(square.astype(np.float64) - mean.astype(np.float64) ** 2, 0)
        return InputMaps(variance.astype(np.float32), reduce="sum", display="positive")

    def emit(self, build: Build) -> Emitted:
        mean, gradients = emit_moments(build, self.samples, self.noise, self.seed)
        op = build.op
        # About the mean, which float32 needs; the mean square minus the squared mean is the same number.
        apart = op.Sub(gradients, op.Unsqueeze(mean, [1]))
        return EmittedInput(op.ReduceMean(op.Mul(apart, apart), [1], keepdims=0), reduce="sum", display="positive")
