"""Features of the places of an image: maps of several layers, averaged over neighbours, on one grid.

Each layer's maps (N, C, h, w) are averaged over 3x3 places, brought to the finest layer's grid, and joined; wide ones
are projected by a sparse random matrix. K. Roth et al., "Towards total recall in industrial anomaly detection", CVPR
2022, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...kernels.upsample import upsample
from ..emitter.emitter import Emitter
from ..graph.model import Model
from ..survey.units import UnitLayer
from .layers import choose_layers


@dataclass(frozen=True, eq=False)
class Features:
    """How features are read from a model's values.

    layers: the maps, the finest first. reason: why these. projection: float32 (C, D), None where nothing is projected.
    """

    layers: tuple[UnitLayer, ...]
    reason: str
    projection: NDArray[np.float32] | None

    @property
    def read(self) -> tuple[str, ...]:
        """Names of the values that are read."""
        return tuple(dict.fromkeys(name for layer in self.layers for name in layer.read))

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the places."""
        height, width = self.layers[0].grid
        return height, width

    @property
    def width(self) -> int:
        """D, the numbers of one place."""
        return sum(layer.units for layer in self.layers) if self.projection is None else self.projection.shape[1]

    def of(self, values: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """(N, h * w, D) float32, places in reading order, of the values (N, ...) in `read`."""
        parts = []
        for layer in self.layers:
            maps = layer.maps(values)
            smooth = _averaged(maps.reshape(-1, *layer.grid))
            found = upsample(smooth, self.grid) if tuple(layer.grid) != self.grid else smooth
            parts.append(found.reshape(*maps.shape[:2], -1))
        joined = np.ascontiguousarray(np.concatenate(parts, axis=1).transpose(0, 2, 1), np.float32)
        if self.projection is None:
            return joined
        return np.asarray(joined @ self.projection, np.float32)


def features_of(model: Model, layers: object, plane: tuple[int, int], dimensions: int, seed: int) -> Features:
    """dimensions: wider features are projected to so many. Raises what `choose_layers` raises."""
    chosen, reason = choose_layers(model, layers, plane)
    width = sum(layer.units for layer in chosen)
    return Features(tuple(chosen), reason, sparse_projection(width, dimensions, seed) if width > dimensions else None)


def sparse_projection(width: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """(width, dimensions): entries are 0 but for one in sqrt(width), of random sign.

    P. Li, T. Hastie and K. Church, "Very sparse random projections", 2006. Of n points, with D dimensions, all
    distances are kept within a share e where D >= 4 ln(n) / (e^2 / 2 - e^3 / 3) (W. Johnson and J. Lindenstrauss; the
    bound is of dense Gaussian matrices, which sparse ones come near to as `width` grows).
    """
    rng = np.random.default_rng([seed, width, dimensions])
    sparsity = float(np.sqrt(width))
    drawn = rng.random((width, dimensions))
    signs = np.where(drawn < 0.5 / sparsity, 1.0, np.where(drawn < 1 / sparsity, -1.0, 0.0))
    return np.asarray(signs * np.sqrt(sparsity / dimensions), np.float32)


def _averaged(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, h, w): the mean of each place and its neighbours that there are."""
    found = maps
    for axis in (1, 2):
        size = maps.shape[axis]
        sides = [(0, 0)] * 3
        sides[axis] = (1, 1)
        wide = np.pad(found, sides)
        count = np.full(size, 3, np.float32)
        count[0] -= 1
        count[-1] -= 1
        total = sum(np.take(wide, range(k, k + size), axis=axis) for k in range(3))
        found = np.asarray(total / count.reshape([-1 if a == axis else 1 for a in range(3)]), np.float32)
    return found


def emit_features(op: Emitter, features: Features, resized: Sequence[str]) -> str:
    """The features (N, h * w, D) of averaged maps (N, C, h, w) that are on one grid, in standard operators."""
    joined = resized[0] if len(resized) == 1 else op.Concat(*resized, axis=1)
    channels = sum(layer.units for layer in features.layers)
    places = features.grid[0] * features.grid[1]
    flat = op.Transpose(op.Reshape(joined, op.const([-1, channels, places])), perm=[0, 2, 1])
    return flat if features.projection is None else op.MatMul(flat, op.const(features.projection))
