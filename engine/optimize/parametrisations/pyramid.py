"""A Laplacian pyramid: pictures of several resolutions, added up (P. J. Burt and E. H. Adelson 1983)."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....kernels.warp import unwarp, warp
from ...methods.options import option
from ..canvas import Canvas
from ..parametrisation import Painter, Parametrisation, parametrisation


@parametrisation("pyramid")
@dataclass(frozen=True)
class Pyramid(Parametrisation):
    """A Laplacian pyramid with decorrelated colours: each level has half the resolution of the one before."""

    levels: int = option(5, "Number of levels, fewer for small pictures.", low=1, high=12)
    deviation: float = option(0.01, "Standard deviation of the noise at the start.", low=0.0)

    def on(self, canvas: Canvas, threads: int | None = None) -> Painter:
        return _PyramidPainter(canvas, threads, self.levels, self.deviation)


@dataclass(frozen=True)
class _PyramidPainter(Painter):
    """Values float32 (N, C, numbers of all levels, the finest first)."""

    levels: int
    deviation: float

    @functools.cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        height, width = self.canvas.size
        count = max(1, min(self.levels, int(math.log2(max(1, min(height, width) / 2))) + 1))
        return [(-(-height // 2**k), -(-width // 2**k)) for k in range(count)]

    def _matrices(self, rows: int, height: int, width: int) -> NDArray[np.float64]:
        """From the pixels of the picture to those of a level, (rows, 2, 3): the same area."""
        v, u = height / self.canvas.size[0], width / self.canvas.size[1]
        return np.tile([[v, 0, v / 2 - 0.5], [0, u, u / 2 - 0.5]], (rows, 1, 1))

    def start(self, rng: np.random.Generator) -> NDArray[np.float32]:
        count = sum(h * w for h, w in self._sizes)
        return (rng.standard_normal((self.canvas.channels, count)) * self.deviation).astype(np.float32)

    def values_of(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.zeros((self.canvas.channels, sum(h * w for h, w in self._sizes)), np.float32)
        finest = self._sizes[0]
        found[:, : finest[0] * finest[1]] = self.decorrelated(picture).reshape(self.canvas.channels, -1)
        return found

    def plain(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        finest, *coarser = self._levels(values)  # the finest has the picture's own resolution
        total = np.array(finest[0].reshape(*values.shape[:2], *self.canvas.size), np.float32)
        for part, (h, w) in coarser:
            level = part.reshape(*values.shape[:2], h, w)
            matrices = self._matrices(len(values), h, w)
            total += warp(level, matrices, self.canvas.size, fill=0.0, threads=self.threads)
        return total

    def pull(self, values: NDArray[np.float32], cotangents: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.empty_like(values)
        finest, *coarser = self._levels(found)
        finest[0][...] = cotangents.reshape(finest[0].shape)
        for part, (h, w) in coarser:
            matrices = self._matrices(len(values), h, w)
            part[...] = unwarp(cotangents, matrices, (h, w), threads=self.threads).reshape(part.shape)
        return found

    def _levels(self, values: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], tuple[int, int]]]:
        """Of every level its part of the values (N, C, h * w), and its size."""
        ends = np.cumsum([0, *(h * w for h, w in self._sizes)])
        parts = [values[..., a:b] for a, b in itertools.pairwise(ends)]
        return list(zip(parts, self._sizes, strict=True))
