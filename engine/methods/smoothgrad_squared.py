"""SmoothGrad squared: the mean square of the gradients at noisy copies.

S. Hooker, D. Erhan, P.-J. Kindermans and B. Kim, "A Benchmark for Interpretability Methods in Deep Neural Networks",
NeurIPS 2019, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from .families.noise import Noisy, emit_moments, moments
from .registry import method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("smoothgrad-squared", "smoothgrad-sq")
@dataclass(frozen=True)
class SmoothGradSquared(Noisy):
    """The mean square of the gradients at noisy copies of the input."""

    def __call__(self, problem: Problem) -> Maps:
        _, square = moments(problem, self.samples, self.noise, self.seed, square=True)
        return InputMaps(square, reduce="sum", display="positive")

    def emit(self, build: Build) -> Emitted:
        mean, _ = emit_moments(build, self.samples, self.noise, self.seed, square=True)
        return EmittedInput(mean, reduce="sum", display="positive")
