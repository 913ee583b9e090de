"""Eigen-Grad-CAM: the principal component of gradient times activation, after Eigen-CAM (see there).

J. Gildenblat and contributors, "PyTorch library for CAM methods", 2021, introduced the variant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..compiled.maps import principal as emit_principal
from .eigen_cam import principal
from .families.cam import Cam
from .registry import method

if TYPE_CHECKING:
    from ..compiled.build import Build


@method("eigen-grad-cam")
@dataclass(frozen=True)
class EigenGradCam(Cam):
    """The first principal component of gradient times activation: as Eigen-CAM, but for one class."""

    weighs_in_nodes: ClassVar[bool] = False

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        return principal(gradients * activations)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        return emit_principal(build, build.op.Mul(gradients, activations))
