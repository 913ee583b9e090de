"""Recipro-CAM.

S.-Y. Byun and W. Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks",
arXiv:2209.14074, 2022, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.layer_choice import MapPlace, activations
from ..compiled.maps import maps_of_value
from ..compiled.passes import masked_scores
from ..errors import MethodError
from .families.cam import Cam, tail_scores
from .options import option
from .registry import Needs, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build

_LINE = np.array([0.5, 1.0, 0.5], np.float32)  # outer product with itself: the 3x3 Gaussian, 1 in the middle


@method("recipro-cam")
@dataclass(frozen=True)
class ReciproCam(Cam):
    """The score when only one place of the layer's maps is left, for every place. Needs no gradient.

    The score of maps that are zero everywhere is subtracted. Runs what lies behind the layer once per place.
    """

    mask: str = option(
        "gaussian", "What is left: one place, or a 3x3 Gaussian around it.", choices=("gaussian", "single")
    )
    needs: ClassVar[Needs] = "tail"

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        if len(place.sizes) == 3 and self.mask == "gaussian":
            raise MethodError("the Gaussian of recipro-cam is for images and signals: use mask='single' on volumes")
        height, width = activations(problem, place).shape[2:]
        masks = spots(height, width, self.mask == "gaussian")

        def only(maps: NDArray[np.float32], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.asarray(maps[None] * masks[numbers][:, None])

        scores = tail_scores(problem, place, only, len(masks))
        found = scores[:, :-1] - scores[:, -1:]
        return found.reshape(-1, height, width).astype(np.float32)

    def emit_map(self, build: Build, place: MapPlace, gradient: str) -> str:
        height, width = build.op.shape(maps_of_value(build, place.grid, place.value))[2:]
        if not isinstance(height, int) or not isinstance(width, int):
            raise MethodError(f"recipro-cam in a graph needs a fixed image size, that of {place.name!r} is open")
        op = build.op
        scores = masked_scores(build, place, spots(height, width, self.mask == "gaussian"))
        count = height * width
        without = op.Slice(scores, [count], [count + 1], [1])
        found = op.Sub(op.Slice(scores, [0], [count], [1]), without)
        return op.Reshape(found, [-1, height, width])


def spots(height: int, width: int, gaussian: bool) -> NDArray[np.float32]:
    """(h * w + 1, h, w): a mask that keeps one place each, in rows; the last one keeps nothing."""
    masks = np.zeros((height * width + 1, height + 2, width + 2), np.float32)
    for number in range(height * width):
        y, x = divmod(number, width)
        if gaussian:
            masks[number, y : y + 3, x : x + 3] = np.outer(_LINE, _LINE)
        else:
            masks[number, y + 1, x + 1] = 1
    return masks[:, 1:-1, 1:-1]
