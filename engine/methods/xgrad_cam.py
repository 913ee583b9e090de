"""XGrad-CAM.

R. Fu, Q. Hu, X. Dong, Y. Guo, Y. Gao and B. Li, "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation
of CNNs", BMVC 2020, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..compiled.maps import weighted
from .families.cam import Cam
from .registry import method

if TYPE_CHECKING:
    from ..compiled.build import Build


# Keeps the weight of a channel without activation finite; the value that the field's implementations use.
_EPSILON = 1e-7


@method("xgrad-cam")
@dataclass(frozen=True)
class XGradCam(Cam):
    """Maps weighted by their gradient averaged over activation: the shares add up to the score as nearly as they can.

    weight of a channel = sum over places of g * A / sum(A).
    """

    averages: ClassVar[bool] = True

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        total = activations.sum(axis=(2, 3))
        weights = (gradients * activations).sum(axis=(2, 3)) / (total + _EPSILON)
        return np.asarray(np.einsum("rc,rchw->rhw", weights, activations), np.float32)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        op = build.op
        total = op.Add(op.ReduceSum(activations, [2, 3], keepdims=1), _EPSILON)
        shares = op.Div(op.ReduceSum(op.Mul(gradients, activations), [2, 3], keepdims=1), total)
        return weighted(build, shares, activations)
