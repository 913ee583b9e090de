"""Finer-CAM.

Z. Zhang, J. Gu, A. Chowdhury, Z. Mai, D. Carlyn, T. Berger-Wolf, Y. Su and W.-L. Chao, "Finer-CAM: Spotting the
Difference Reveals Finer Details for Visual Explanation", CVPR 2025, section 3: Grad-CAM of a difference of scores,

    score of the class - strength * mean score of the classes most similar to it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..attribution.layer_choice import MapPlace, activations
from ..errors import MethodError
from ..targets.resolved import ClassTarget
from .families.advice import advised_at_layers
from .families.cam import Cam
from .options import option
from .registry import method

if TYPE_CHECKING:
    from ..attribution.problem import Problem


@method("finer-cam")
@dataclass(frozen=True)
class FinerCam(Cam):
    """Grad-CAM of the class against the classes most like it: what tells it from them.

    Similar classes are those whose scores are nearest to the class's own.
    """

    similar: int = option(3, "How many similar classes to compare with.", low=1, high=1000)
    strength: float = option(
        0.6, "How much of the similar classes' score is subtracted; 0 is Grad-CAM.", low=0, high=10
    )

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        classes, target = problem.classes, problem.target
        if classes is None or not isinstance(target, ClassTarget) or classes.shape[1] > 1:
            raise MethodError("finer-cam compares one class with others like it: choose a class as the target")
        scores = np.moveaxis(problem.y, target.axis, -1).reshape(len(problem.y), -1)
        scores = scores[problem.sample].astype(np.float64)
        if scores.shape[1] < 2:
            raise MethodError(f"finer-cam compares classes, the model has only one: use {advised_at_layers(problem)}")
        own = np.take_along_axis(scores, classes, axis=1)
        distance = np.abs(scores - own)
        np.put_along_axis(distance, classes, -1, axis=1)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : self.similar + 1]
        count = nearest.shape[1] - 1
        weights = np.full(nearest.shape, -self.strength / count, np.float32)
        weights[:, 0] = 1
        gradients = problem.gradients.by_classes([place.value], nearest, weights)[place.value]
        channels = place.grid.maps(gradients).astype(np.float32, copy=False).mean(axis=(2, 3))
        return np.asarray(np.einsum("rc,rchw->rhw", channels, activations(problem, place)), np.float32)
