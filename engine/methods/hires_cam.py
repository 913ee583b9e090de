"""HiResCAM.

R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
networks", arXiv:2011.08891, 2020, section 3.3.
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


@method("hires-cam")
@dataclass(frozen=True)
class HiResCam(Cam):
    """Gradient times activation, place by place: what each place really adds to the score.

    On a network that ends in one linear layer after the maps, the map adds up to the score but for its bias. The one to
    take where maps are flattened instead of pooled: each place has weights of its own there, which Grad-CAM averages.
    """

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.einsum("rchw,rchw->rhw", gradients, activations), np.float32)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        return weighted(build, gradients, activations)
