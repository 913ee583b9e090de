"""Guided Grad-CAM: guided backpropagation where Grad-CAM is positive.

R. R. Selvaraju et al., "Grad-CAM", ICCV 2017, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...kernels.upsample import upsample_along
from ..attribution.advice import advised
from ..attribution.layer_choice import choose
from ..attribution.maps import InputMaps, Maps
from ..compiled.emitted import Emitted, EmittedInput
from ..errors import MethodError
from ..inspect.concrete_shapes import spatial_input
from .families.cam import at_places
from .families.rectified import without_rectifiers
from .grad_cam import GradCam
from .registry import Method, Sanity, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("guided-grad-cam")
@dataclass(frozen=True)
class GuidedGradCam(Method):
    """Guided backpropagation times the positive part of Grad-CAM: fine detail, where it speaks for the class."""

    at_layer: ClassVar[bool] = True
    randomisation: ClassVar[Sanity] = "fails"

    def __call__(self, problem: Problem) -> Maps:
        given = problem.input
        axes: tuple[int, ...] | None = given.axes
        if axes is None and (along := spatial_input(problem.source)) is not None and along[0] == given.name:
            axes = along[1]
        if axes is None:
            raise MethodError(
                "guided-grad-cam needs an image, a signal or a volume, and the input is none: use "
                f"{advised(problem, ('guided-backprop', 'occlusion', 'ablation'))}"
            )
        where = GradCam()(problem)
        detail = problem.gradients.by([given.name], rules="guided")[given.name]
        extent = tuple(given.x.shape[axis] for axis in axes)
        mask = upsample_along(np.maximum(where.values, 0), extent)
        shape = [len(mask)] + [extent[axes.index(a)] if a in axes else 1 for a in range(1, detail.ndim)]
        values = detail * mask.reshape(shape)
        plain = without_rectifiers(problem)
        return InputMaps(
            values,
            reduce="max-abs",
            layer=where.layer,
            reason=where.reason,
            warnings=tuple((*a, *b) for a, b in zip(where.warnings, plain, strict=True)),
            in_colours=True,
        )

    def emit(self, build: Build) -> Emitted:
        if build.problem.input.axes is None:
            raise MethodError("guided-grad-cam needs an image and the input is none: use guided-backprop")
        places = choose(build.problem)
        at_layers = build.gradients([place.value for place in places])
        (detail,) = build.gradients([build.x], rules="guided")
        op = build.op
        where = at_places(GradCam(), build, places, at_layers)
        mask = build.resized(op.Unsqueeze(op.Relu(where.value), [1]), build.plane())
        layout = build.problem.input.layout or ""
        if layout == "NHWC":
            mask = op.Transpose(mask, perm=[0, 2, 3, 1])
        elif layout == "NHW":
            mask = op.Squeeze(mask, [1])
        value = op.Mul(build.real(detail), mask)
        return EmittedInput(value, reduce="max-abs", layer=where.layer, reason=where.reason)
