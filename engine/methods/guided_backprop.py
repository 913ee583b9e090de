"""Guided backpropagation.

J. T. Springenberg, A. Dosovitskiy, T. Brox and M. Riedmiller, "Striving for Simplicity: The All Convolutional Net",
ICLR workshop 2015, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from .families.rectified import without_rectifiers
from .registry import Method, Sanity, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("guided-backprop", "guided-backpropagation", "gbp")
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """The gradient, with negative signals cut off at every rectifier on the way back.

    Sharp pictures of what a unit reacts to. It is no derivative: the maps hardly depend on the class, nor on the
    weights. Take `unit:LAYER:strongest,strongest` as the target to see what a unit inside the network has seen.
    """

    randomisation: ClassVar[Sanity] = "fails"

    def __call__(self, problem: Problem) -> Maps:
        values = problem.gradients.by([problem.input.name], rules="guided")[problem.input.name]
        return InputMaps(values, reduce="max-abs", in_colours=True, warnings=without_rectifiers(problem))

    def emit(self, build: Build) -> Emitted:
        (gradient,) = build.gradients([build.x], rules="guided")
        return EmittedInput(build.real(gradient), reduce="max-abs")
