"""Grad-CAM.

R. R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh and D. Batra, "Grad-CAM: Visual Explanations from Deep
Networks via Gradient-Based Localization", ICCV 2017, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..compiled.maps import mean_over_places, weighted
from .families.cam import Cam
from .registry import method

if TYPE_CHECKING:
    from ..compiled.build import Build


@method("grad-cam")
@dataclass(frozen=True)
class GradCam(Cam):
    """Maps weighted by their mean gradient: which parts of the image speak for the target.

    weight of a channel = mean over all places of its gradient. Where maps are flattened instead of pooled before the
    last layers, that mean can show places which the network does not use: a warning says so, take `hires-cam` there.
    """

    averages: ClassVar[bool] = True

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = gradients.mean(axis=(2, 3))
        return np.asarray(np.einsum("rc,rchw->rhw", weights, activations), np.float32)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        return weighted(build, mean_over_places(build, gradients), activations)
