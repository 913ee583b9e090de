"""A Gaussian of the mean features of whole images: one distance for an image, no map.

K. Lee et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks", 2018,
with a single class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from .padim import Gaussians, Moments, gaussians
from .pooled import emit_pooled, pooled
from .registry import Distances, Fitted, scorer


class PooledMoments(Moments):
    """Of the mean over all places."""

    def add(self, features: NDArray[np.float32], image: int) -> None:
        """Features (P, D) of one image."""
        super().add(pooled(features), image)


@dataclass(frozen=True, eq=False)
class PooledGaussian(Gaussians):
    """Of the mean over all places; the arrays have P = 1."""

    def distances(self, features: NDArray[np.float32]) -> Distances:
        """(N, 1)."""
        return super().distances(pooled(features))

    def emit(self, op: Emitter, features: str) -> str:
        """(N, 1)."""
        return super().emit(op, emit_pooled(op, features))


@scorer("mahalanobis")
class Mahalanobis:
    """A Gaussian of whole images."""

    def gathered(self, places: int, width: int, rows: int) -> PooledMoments:
        """Nothing yet."""
        return PooledMoments(1, width)

    def fitted(self, parts: Sequence[Moments], rows: int) -> Fitted:
        """The Gaussian of all parts."""
        found = gaussians(parts)
        return PooledGaussian(found.mean, found.whitening)

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """What `arrays` gave."""
        return PooledGaussian(np.asarray(arrays["mean"], np.float32), np.asarray(arrays["whitening"], np.float32))
