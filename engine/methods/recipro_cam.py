"""Recipro-CAM.

S.-Y. Byun and W. Lee, "Recipro-CAM: Fast gradient-free visual explanations for convolutional neural networks",
arXiv:2209.14074, 2022, section 3.
"""

from __future__ import annotations

import functools
import math
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

# Outer products with itself: the 3x3 Gaussian, 1 in the middle; one place.
_LINE, _POINT = np.array([0.5, 1.0, 0.5], np.float32), np.array([0.0, 1.0, 0.0], np.float32)


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
        height, width = activations(problem, place).shape[2:]
        masks = spots(place.sizes or (height, width), self.mask == "gaussian").reshape(-1, height, width)

        def only(maps: NDArray[np.float32], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.asarray(maps[None] * masks[numbers][:, None])

        scores = tail_scores(problem, place, only, len(masks), lambda numbers: masks[numbers][:, None])
        found = scores[:, :-1] - scores[:, -1:]
        return found.reshape(-1, height, width).astype(np.float32)

    def emit_map(self, build: Build, place: MapPlace, gradient: str) -> str:
        height, width = build.op.shape(maps_of_value(build, place.grid, place.value))[2:]
        if not isinstance(height, int) or not isinstance(width, int):
            raise MethodError(f"recipro-cam in a graph needs a fixed image size, that of {place.name!r} is open")
        op = build.op
        scores = masked_scores(build, place, spots((height, width), self.mask == "gaussian"))
        count = height * width
        without = op.Slice(scores, [count], [count + 1], [1])
        found = op.Sub(op.Slice(scores, [0], [count], [1]), without)
        return op.Reshape(found, [-1, height, width])


def spots(sizes: tuple[int, ...], gaussian: bool) -> NDArray[np.float32]:
    """(places + 1, *sizes): a mask that keeps one place each, in rows; the last one keeps nothing."""
    kept = functools.reduce(np.multiply.outer, [_LINE if gaussian else _POINT] * len(sizes))
    masks = np.zeros((math.prod(sizes) + 1, *(size + 2 for size in sizes)), np.float32)
    for mask, place in zip(masks, np.ndindex(sizes), strict=False):
        mask[tuple(slice(at, at + 3) for at in place)] = kept
    inner = (slice(None), *(slice(1, -1) for _ in sizes))
    return np.ascontiguousarray(masks[inner])
