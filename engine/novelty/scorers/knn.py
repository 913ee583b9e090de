"""Distance of the mean features of a whole image to those of the nearest good image: no map.

Y. Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022, with k = 1 and features that are
not brought to unit length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from .patchcore import PatchCore, Patches, PatchMemory
from .pooled import emit_pooled, pooled
from .registry import Distances, Fitted, scorer


class PooledRows(Patches):
    """One row for each image."""

    def add(self, features: NDArray[np.float32], image: int) -> None:
        """Features (P, D) of one image."""
        super().add(pooled(features), image)


@dataclass(frozen=True, eq=False)
class PooledMemory(PatchMemory):
    """rows: float32 (M, D), means of good images."""

    local: bool = False

    def distances(self, features: NDArray[np.float32]) -> Distances:
        """(N, 1), by the nearest row."""
        return super().distances(pooled(features))

    def emit(self, op: Emitter, features: str) -> str:
        """(N, 1)."""
        return super().emit(op, emit_pooled(op, features))


@scorer("knn")
class Knn:
    """The nearest good image."""

    def gathered(self, places: int, width: int, rows: int) -> PooledRows:
        """Nothing yet."""
        return PooledRows(width, rows)

    def fitted(self, parts: Sequence[Patches], rows: int) -> Fitted:
        """At most `rows` images, chosen out of those of all parts."""
        found = PatchCore().fitted(parts, rows).arrays()
        return PooledMemory(found["rows"], found["sources"])

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """What `arrays` gave."""
        return PooledMemory(np.asarray(arrays["rows"], np.float32), np.asarray(arrays["sources"], np.int64))
