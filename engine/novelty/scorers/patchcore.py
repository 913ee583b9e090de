"""Distance to the nearest of some patches of good images, chosen so that they cover all.

K. Roth et al., "Towards total recall in industrial anomaly detection", CVPR 2022. The score is the distance itself,
without that paper's weight by the neighbours of the nearest patch.
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
from .registry import Distances, Fitted, scorer

# Numbers that patches waiting to be thinned out may hold: 128 MiB.
_MOST = 1 << 25


class Patches:
    """Patches of images, thinned out to `rows` by greedy k-center each time they become too many."""

    def __init__(self, width: int, rows: int) -> None:
        self.rows = rows
        self.most = max(2 * rows, _MOST // width)
        self.found = np.empty((0, width), np.float32)
        self.sources = np.empty((0, 2), np.int64)
        self._waiting: list[tuple[NDArray[np.float32], int]] = []
        self._count = 0

    def add(self, features: NDArray[np.float32], image: int) -> None:
        """Features (P, D) of one image."""
        self._waiting.append((features, image))
        self._count += len(features)
        if self._count + len(self.found) > self.most:
            self.joined()
            kept = self.chosen()
            self.found, self.sources = self.found[kept], self.sources[kept]

    def chosen(self) -> NDArray[np.int64]:
        """Numbers of the patches to keep."""
        return farthest_points(self.found, self.rows)

    def joined(self) -> None:
        """What waits is put behind what is there."""
        if not self._waiting:
            return
        new = [np.stack([np.full(len(f), image), np.arange(len(f))], axis=1) for f, image in self._waiting]
        self.found = np.concatenate([self.found, *(f for f, _ in self._waiting)])
        self.sources = np.concatenate([self.sources, *new])
        self._waiting, self._count = [], 0

    def images(self) -> frozenset[int]:
        """Images that patches are kept of."""
        return frozenset(self.sources[:, 0].tolist()) | {image for _, image in self._waiting}


def together(parts: Sequence[Patches]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The patches (M, D) of all parts and their sources (M, 2)."""
    for part in parts:
        part.joined()
    return np.concatenate([part.found for part in parts]), np.concatenate([part.sources for part in parts])


@dataclass(frozen=True, eq=False)
class PatchMemory:
    """rows: float32 (M, D), patches of good images. sources: int64 (M, 2), the image and the place of each."""

    rows: NDArray[np.float32]
    sources: NDArray[np.int64]
    local: bool = True

    def distances(self, features: NDArray[np.float32]) -> Distances:
        """(N, P), by the nearest row."""
        shape = features.shape[:2]
        found, which = nearest(features.reshape(-1, features.shape[2]), self.rows)
        return Distances(found.reshape(shape), which.reshape(shape))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`rows` and `sources`."""
        return {"rows": self.rows, "sources": self.sources}

    def emit(self, op: Emitter, features: str) -> str:
        """(N, P), about the mean of the rows."""
        middle = self.rows.mean(axis=0, dtype=np.float64)
        x = op.Reshape(op.Sub(features, op.const(middle.astype(np.float32))), op.const([-1, self.rows.shape[1]]))
        return op.Reshape(emit_nearest(op, x, self.rows - middle), op.const([-1, op.shape(features)[1]]))


def emit_nearest(op: Emitter, x: str, rows: NDArray[np.float64]) -> str:
    """(n,): the distance of each x (n, D) to the nearest of the rows (M, D), |x|^2 - 2 max(x . row - |row|^2 / 2)."""
    offsets = op.const((-(rows**2).sum(axis=1) / 2).astype(np.float32))
    near = op.Gemm(x, op.const(np.ascontiguousarray(rows.T, np.float32)), offsets)
    best = op.ReduceMax(near, [1], keepdims=0)
    square = op.Sub(op.ReduceSumSquare(x, [1], keepdims=0), op.Mul(best, op.const(2.0, like=best)))
    return op.Sqrt(op.Max(square, op.const(0.0, like=square)))


@scorer("patchcore")
class PatchCore:
    """The nearest of some patches."""

    def gathered(self, places: int, width: int, rows: int) -> Patches:
        """Nothing yet."""
        return Patches(width, rows)

    def fitted(self, parts: Sequence[Patches], rows: int) -> Fitted:
        """At most `rows` patches, chosen out of those of all parts."""
        found, sources = together(parts)
        kept = farthest_points(found, rows)
        return PatchMemory(found[kept], sources[kept])

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """What `PatchMemory.arrays` gave."""
        return PatchMemory(np.asarray(arrays["rows"], np.float32), np.asarray(arrays["sources"], np.int64))
