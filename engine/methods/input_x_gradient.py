"""The input times the gradient.

A. Shrikumar, P. Greenside, A. Shcherbina and A. Kundaje, "Not Just a Black Box: Learning Important Features Through
Propagating Activation Differences", arXiv:1605.01713, 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from .registry import Method, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("input-x-gradient", "gradient-x-input", "ixg")
@dataclass(frozen=True)
class InputTimesGradient(Method):
    """The gradient times the input: each element's share of the score, to first order.

    On a network without biases whose activations are piecewise linear, the shares add up to the score exactly.
    """

    def __call__(self, problem: Problem) -> Maps:
        gradient = problem.gradients.by([problem.input.name])[problem.input.name]
        return InputMaps(gradient * problem.x.astype(np.float32), reduce="sum")

    def emit(self, build: Build) -> Emitted:
        (gradient,) = build.gradients([build.x])
        product = build.op.Mul(build.real(gradient), build.real(build.x))
        return EmittedInput(product, reduce="sum")
