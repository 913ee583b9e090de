"""The gradient of the target's score by the input.

K. Simonyan, A. Vedaldi and A. Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification Models
and Saliency Maps", ICLR workshop 2014, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from .registry import Method, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("gradient", "saliency", "vanilla-gradient")
@dataclass(frozen=True)
class Gradient(Method):
    """The score's gradient by every pixel: where a small change changes the answer most.

    One pass forward and one backward. The paper shows, per pixel, the channel with the greatest magnitude; its sign
    is kept.
    """

    def __call__(self, problem: Problem) -> Maps:
        values = problem.gradients.by([problem.input.name])[problem.input.name]
        return InputMaps(values, reduce="max-abs")

    def emit(self, build: Build) -> Emitted:
        (gradient,) = build.gradients([build.x])
        return EmittedInput(build.real(gradient), reduce="max-abs")
