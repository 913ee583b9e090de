"""SmoothGrad: the gradient averaged over noisy copies of the input.

D. Smilkov, N. Thorat, B. Kim, F. Viegas and M. Wattenberg, "SmoothGrad: removing noise by adding noise",
arXiv:1706.03825, 2017.
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


@method("smoothgrad", "smooth-gradient")
@dataclass(frozen=True)
class SmoothGrad(Noisy):
    """The mean of the gradients at noisy copies of the input.

    The class that is explained is the one of the input without noise.
    """

    def __call__(self, problem: Problem) -> Maps:
        mean, _ = moments(problem, self.samples, self.noise, self.seed)
        return InputMaps(mean, reduce="max-abs")

    def emit(self, build: Build) -> Emitted:
        mean, _ = emit_moments(build, self.samples, self.noise, self.seed)
        return EmittedInput(mean, reduce="max-abs")
