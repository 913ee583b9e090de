"""LayerCAM.

P.-T. Jiang, C.-B. Zhang, Q. Hou, M.-M. Cheng and Y. Wei, "LayerCAM: Exploring Hierarchical Class Activation Maps for
Localization", IEEE TIP 30, 2021, equation 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..compiled.maps import weighted
from .families.cam import Cam
from .registry import method

if TYPE_CHECKING:
    from ..compiled.build import Build


@method("layer-cam")
@dataclass(frozen=True)
class LayerCam(Cam):
    """Positive gradient times activation, place by place: works at early, fine layers too."""

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.einsum("rchw,rchw->rhw", np.maximum(gradients, 0), activations), np.float32)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        return weighted(build, build.op.Relu(gradients), activations)
