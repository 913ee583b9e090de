"""Ablation-CAM.

S. Desai and H. G. Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
Localization", WACV 2020, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.layer_choice import MapPlace, activations
from .families.cam import Cam, tail_scores
from .registry import Needs, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem


@method("ablation-cam")
@dataclass(frozen=True)
class AblationCam(Cam):
    """Maps weighted by how much the score falls without them. Needs no gradient.

    weight of a channel = (score - score without the channel) / |score|. Runs what lies behind the layer once per
    channel of it that is not zero everywhere.
    """

    needs: ClassVar[Needs] = "tail"

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        maps = activations(problem, place)

        def without(clean: NDArray[np.float32], channels: NDArray[np.int64]) -> NDArray[np.float32]:
            variants = np.repeat(clean[None], len(channels), axis=0)
            variants[np.arange(len(channels)), channels] = 0
            return variants

        def kept(channels: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.asarray(channels[:, None, None, None] != np.arange(maps.shape[1])[:, None, None])

        def alive(clean: NDArray[np.float32]) -> NDArray[np.int64]:
            return np.flatnonzero(clean.any(axis=(1, 2)))

        scores = tail_scores(problem, place, without, maps.shape[1], kept, alive)
        clean = problem.scores[:, None]
        weights = (clean - scores) / np.where(clean == 0, 1, np.abs(clean))
        return np.asarray(np.einsum("rc,rchw->rhw", weights.astype(np.float32), maps), np.float32)
