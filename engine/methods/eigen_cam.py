"""Eigen-CAM.

M. B. Muhammad and M. Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020, section III.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.layer_choice import MapPlace, activations
from ..compiled.maps import activations as emit_activations
from ..compiled.maps import principal as emit_principal
from .families.cam import Cam
from .registry import Needs, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem
    from ..compiled.build import Build


@method("eigen-cam")
@dataclass(frozen=True)
class EigenCam(Cam):
    """The first principal component of the maps: what stands out, whatever the class.

    Needs no gradient and takes no notice of the target. The maps are centred first, so about half of the values are
    negative: what stands out less than the average. A principal component has no sign; it is turned so that it grows
    with the sum over channels.
    """

    needs: ClassVar[Needs] = "tail"

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        return principal(activations(problem, place))

    def emit_map(self, build: Build, place: MapPlace, gradient: str) -> str:
        return emit_principal(build, emit_activations(build, place))


def principal(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (R, C, h, w), centred over places, projected on their first principal component: (R, h, w)."""
    result = np.zeros((len(maps), *maps.shape[2:]), np.float32)
    for one, out in zip(maps, result, strict=True):
        places = one.reshape(len(one), -1).T.astype(np.float64)
        if not np.isfinite(places).all():
            out[...] = np.nan
            continue
        centred = places - places.mean(axis=0)
        if not centred.any():
            continue
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        projected = centred @ axes[0]
        if projected @ centred.sum(axis=1) < 0:
            projected = -projected
        out[...] = projected.reshape(out.shape)
    return result
