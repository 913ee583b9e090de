"""Distance to the nearest of some patches of good images, in units of the spread of all patches.

As `patchcore`, in the space where the patches of all good images have the same variance in every direction: those in
which they hardly vary count more. A distance is the root of the mean over the D directions of the squared difference in
standard deviations. The covariance is that of PaDiM (T. Defard et al., 2021), of all places together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernels.coreset import farthest_points
from ....kernels.neighbours import nearest
from ...emitter.emitter import Emitter
from .patchcore import Patches, emit_nearest, together
from .registry import Distances, Fitted, scorer

# What is added to the covariance, as a share of its mean variance.
_RIDGE = 0.01


class SpreadPatches(Patches):
    """Patches of images, and sums of all patches and of their products, about the first patch."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__(width, rows)
        self.seen = 0
        self.about = np.zeros(width)
        self.sums = np.zeros(width)
        self.products = np.zeros((width, width))

    def add(self, features: NDArray[np.float32], image: int) -> None:
        """Features (P, D) of one image."""
        if not self.seen:
            self.about = features[0].astype(np.float64)
        step = features - self.about
        self.sums += step.sum(axis=0)
        self.products += step.T @ step
        self.seen += len(features)
        super().add(features, image)

    def chosen(self) -> NDArray[np.int64]:
        """Numbers of the patches to keep, in the units of what was seen so far."""
        mean, whitening = spread_of([self])
        return farthest_points(_white(self.found, mean, whitening), self.rows)


def spread_of(parts: Sequence[SpreadPatches]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (D,) of all patches, and (D, D), by which the product of a difference has the covariance 1 / D."""
    about = parts[0].about
    sums, products, seen = np.zeros_like(about), np.zeros((len(about), len(about))), 0
    for part in parts:
        by = part.about - about
        cross = np.outer(part.sums, by)
        products += part.products + cross + cross.T + part.seen * np.outer(by, by)
        sums += part.sums + part.seen * by
        seen += part.seen
    shift = sums / seen
    covariance = products / seen - np.outer(shift, shift)
    variance = max(float(np.trace(covariance)) / len(about), 1e-12)
    factor = np.linalg.cholesky(covariance + _RIDGE * variance * np.eye(len(about)))
    return about + shift, np.linalg.inv(factor).T / np.sqrt(len(about))


def _white(patches: NDArray[Any], mean: NDArray[Any], whitening: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray((patches - mean.astype(np.float32)) @ whitening.astype(np.float32))


@dataclass(frozen=True, eq=False)
class WhitenedMemory:
    """mean: float32 (D,). whitening: float32 (D, D). rows: float32 (M, D), patches of good images in units of the
    spread. sources: int64 (M, 2), the image and the place of each."""

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    rows: NDArray[np.float32]
    sources: NDArray[np.int64]
    local: bool = True

    def distances(self, features: NDArray[np.float32]) -> Distances:
        """(N, P), by the nearest row."""
        shape = features.shape[:2]
        white = _white(features.reshape(-1, features.shape[2]), self.mean, self.whitening)
        found, which = nearest(white, self.rows)
        return Distances(found.reshape(shape), which.reshape(shape))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`mean`, `whitening`, `rows` and `sources`."""
        return {"mean": self.mean, "whitening": self.whitening, "rows": self.rows, "sources": self.sources}

    def emit(self, op: Emitter, features: str) -> str:
        """(N, P). The mean of the patches and that of the rows are subtracted behind the product, as its bias."""
        middle = self.rows.mean(axis=0, dtype=np.float64)
        bias = (-(self.mean.astype(np.float64) @ self.whitening.astype(np.float64)) - middle).astype(np.float32)
        flat = op.Reshape(features, op.const([-1, len(self.mean)]))
        white = op.Gemm(flat, op.const(self.whitening), op.const(bias))
        return op.Reshape(emit_nearest(op, white, self.rows - middle), op.const([-1, op.shape(features)[1]]))


@scorer("whitened")
class Whitened:
    """The nearest of some patches, in units of the spread of all."""

    def gathered(self, places: int, width: int, rows: int) -> SpreadPatches:
        """Nothing yet."""
        return SpreadPatches(width, rows)

    def fitted(self, parts: Sequence[SpreadPatches], rows: int) -> Fitted:
        """At most `rows` patches, chosen out of those of all parts."""
        found, sources = together(parts)
        mean, whitening = (array.astype(np.float32) for array in spread_of(parts))
        white = _white(found, mean, whitening)
        kept = farthest_points(white, rows)
        return WhitenedMemory(mean, np.ascontiguousarray(whitening), white[kept], sources[kept])

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """What `WhitenedMemory.arrays` gave."""
        mean, whitening, rows = (np.asarray(arrays[name], np.float32) for name in ("mean", "whitening", "rows"))
        return WhitenedMemory(mean, whitening, rows, np.asarray(arrays["sources"], np.int64))
