"""The deconvolutional network: a unit's activation, projected back to pixels.

M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1.
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


@method("deconvnet", "deconvolution", "deconv")
@dataclass(frozen=True)
class Deconvnet(Method):
    """An activation projected back to pixels: filters transposed, pools unpooled by their switches, signals rectified.

    From the class, or from any unit of any layer: with `unit:LAYER:strongest,strongest` as the target, the strongest
    activation of the layer is projected and all others are set to zero, as in the paper. The projection starts from 1
    instead of the activation itself, which changes nothing but the map's scale. It is no derivative: the maps hardly
    depend on the weights.
    """

    randomisation: ClassVar[Sanity] = "fails"

    def __call__(self, problem: Problem) -> Maps:
        values = problem.gradients.by([problem.input.name], rules="deconvnet")[problem.input.name]
        return InputMaps(values, reduce="max-abs", in_colours=True, warnings=without_rectifiers(problem))

    def emit(self, build: Build) -> Emitted:
        (gradient,) = build.gradients([build.x], rules="deconvnet")
        return EmittedInput(build.real(gradient), reduce="max-abs")
