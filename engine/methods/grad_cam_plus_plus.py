"""Grad-CAM++.

A. Chattopadhay, A. Sarkar, P. Howlader and V. N. Balasubramanian, "Grad-CAM++: Generalized Gradient-based Visual
Explanations for Deep Convolutional Networks", WACV 2018, equation 19 with the exponential of the score, for which
all higher derivatives are powers of the gradient.
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


# Keeps the quotient finite where a channel's terms cancel; the value that the field's implementations use.
_EPSILON = 1e-6


@method("grad-cam++", "grad-cam-plus-plus", "gradcampp")
@dataclass(frozen=True)
class GradCamPlusPlus(Cam):
    """Maps weighted by their positive gradients, places with little activation counting more: finds several objects.

    weight of a channel = sum over places of relu(g) * g^2 / (2 g^2 + sum(A) g^3).
    """

    averages: ClassVar[bool] = True

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        square = gradients**2
        total = activations.sum(axis=(2, 3), keepdims=True)
        share = square / (2 * square + total * square * gradients + _EPSILON)
        weights = (np.maximum(gradients, 0) * share).sum(axis=(2, 3))
        return np.asarray(np.einsum("rc,rchw->rhw", weights, activations), np.float32)

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        op = build.op
        square = op.Mul(gradients, gradients)
        total = op.ReduceSum(activations, [2, 3], keepdims=1)
        below = op.Add(op.Mul(square, 2.0), op.Mul(op.Mul(total, square), gradients))
        share = op.Div(square, op.Add(below, _EPSILON))
        weights = op.ReduceSum(op.Mul(op.Relu(gradients), share), [2, 3], keepdims=1)
        return weighted(build, weights, activations)
