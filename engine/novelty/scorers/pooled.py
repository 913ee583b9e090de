"""Features of whole images: the mean of all places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter


def pooled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., P, D) -> (..., 1, D)."""
    return np.asarray(features.mean(axis=-2, keepdims=True), np.float32)


def emit_pooled(op: Emitter, features: str) -> str:
    """(N, P, D) -> (N, 1, D)."""
    return op.ReduceMean(features, [1], keepdims=1)
