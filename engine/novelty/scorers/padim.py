"""A Gaussian at every place: how far features are from its mean, in units of its spread.

T. Defard et al., "PaDiM: a patch distribution modeling framework for anomaly detection and localization", 2021. For
parts that lie in the same position in every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from ...errors import MethodError
from .registry import Distances, Fitted, scorer

# What is added to every covariance, as a share of its mean variance; the paper adds 0.01 to features of unit scale.
_RIDGE = 0.01
# Numbers that the covariances may hold: 1 GiB.
_MOST = 1 << 27


class Moments:
    """Sums of features and of their products at every place, about the first image's features."""

    def __init__(self, places: int, width: int) -> None:
        if places * width * width > _MOST:
            raise MethodError(
                f"padim keeps {places} covariances of {width} x {width} numbers, more than 1 GiB: give fewer dimensions"
            )
        self.count = 0
        self.about = np.zeros((places, width), np.float32)
        self.sums = np.zeros((places, width))
        self.products = np.zeros((places, width, width))

    def add(self, features: NDArray[np.float32], image: int) -> None:
        """Features (P, D) of one image."""
        if not self.count:
            self.about = features.copy()
        step = (features - self.about).astype(np.float64)
        self.sums += step
        self.products += step[:, :, None] * step[:, None, :]
        self.count += 1

    def images(self) -> frozenset[int]:
        """None is kept; not empty where there was one."""
        return frozenset((-1,)) if self.count else frozenset()

    def moved(self, about: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The sums and products about another point."""
        by = (self.about - about).astype(np.float64)
        sums = self.sums + self.count * by
        cross = self.sums[:, :, None] * by[:, None, :]
        products = self.products + cross + cross.transpose(0, 2, 1) + self.count * by[:, :, None] * by[:, None, :]
        return sums, products


@dataclass(frozen=True, eq=False)
class Gaussians:
    """mean: float32 (P, D). whitening: float32 (P, D, D), by which the product of a difference has unit covariance."""

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    sources: None = None

    @property
    def local(self) -> bool:
        """Whether there is one for every place."""
        return len(self.mean) > 1

    def distances(self, features: NDArray[np.float32]) -> Distances:
        """(N, P): Mahalanobis distances."""
        steps = (features - self.mean).transpose(1, 0, 2)
        white = steps @ self.whitening
        return Distances(np.ascontiguousarray(np.sqrt((white**2).sum(axis=2)).T))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`mean` and `whitening`."""
        return {"mean": self.mean, "whitening": self.whitening}

    def emit(self, op: Emitter, features: str) -> str:
        """(N, P)."""
        steps = op.Transpose(op.Sub(features, op.const(self.mean)), perm=[1, 0, 2])
        white = op.MatMul(steps, op.const(self.whitening))
        return op.Transpose(op.Sqrt(op.ReduceSumSquare(white, [2], keepdims=0)), perm=[1, 0])


def gaussians(parts: Sequence[Moments]) -> Gaussians:
    """The Gaussians of all that was gathered. Covariances are regularised by 1 % of their mean variance."""
    about = parts[0].about
    moved = [part.moved(about) for part in parts]
    count = sum(part.count for part in parts)
    sums, products = sum(m[0] for m in moved), sum(m[1] for m in moved)
    shift = np.asarray(sums) / count
    spread = np.asarray(products) / count - shift[:, :, None] * shift[:, None, :]
    width = about.shape[1]
    variance = np.maximum(np.trace(spread, axis1=1, axis2=2) / width, 1e-12)
    spread = spread * (count / max(1, count - 1)) + _RIDGE * variance[:, None, None] * np.eye(width)
    whitening = np.linalg.inv(np.linalg.cholesky(spread)).transpose(0, 2, 1)
    return Gaussians((about + shift).astype(np.float32), np.ascontiguousarray(whitening, np.float32))


@scorer("padim")
class Padim:
    """A Gaussian at every place."""

    def gathered(self, places: int, width: int, rows: int) -> Moments:
        """Nothing yet. Raises MethodError where the covariances take too much memory."""
        return Moments(places, width)

    def fitted(self, parts: Sequence[Moments], rows: int) -> Fitted:
        """The Gaussians of all parts."""
        return gaussians(parts)

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """What `Gaussians.arrays` gave."""
        return Gaussians(np.asarray(arrays["mean"], np.float32), np.asarray(arrays["whitening"], np.float32))
