"""Where the elements of a value lie in the image, found by following positions through the graph.

Convolutional maps keep their height and width as two axes. Transformers do not: patches become a sequence, a class
token is put before them, windows are cut, rolled and merged. So every value is given the image position of each of its
elements, or none, and each operator moves positions as it moves data: a reshape reshapes them, a concatenation puts
tokens without a position next to those with one, a product of matrices takes them from its rows. A value whose
positions form a complete grid is a map, whatever its axes.

Positions are arrays (2, ...) of (y, x) in 0..1, with axes of size 1 where nothing changes along them; NaN is no
position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.float32]

# Values with more elements than this are not followed: attention between very many tokens.
LARGEST = 1 << 24
SAME = 1e-4


@dataclass(frozen=True)
class Grid:
    """A value as maps. `shape` (h, w); `axes` of the value (N, ...) that hold the places; `channel` that of channels.

    `order` (h * w,) says which of the places, counted along `axes`, lie at each cell, row by row; None: the axes are
    height and width themselves. `others` is the number of places besides the grid (class tokens).
    """

    shape: tuple[int, int]
    axes: tuple[int, ...]
    channel: int
    order: NDArray[np.int64] | None = None
    others: int = 0

    def maps(self, value: NDArray[Any]) -> NDArray[Any]:
        """(N, ...) -> (N, C, h, w)."""
        flat = self._flat(value)
        if self.order is None:
            height, width = (value.shape[a] for a in self.axes)
            return flat.reshape(*flat.shape[:2], height, width)
        return flat[:, :, self.order].reshape(*flat.shape[:2], *self.shape)

    def put(self, value: NDArray[Any], maps: NDArray[Any]) -> NDArray[Any]:
        """`value` (N, ...) with `maps` (N, C, h, w) in the grid's places; the others stay."""
        flat = self._flat(value).copy()
        cells = maps.reshape(*flat.shape[:2], -1)
        if self.order is None:
            flat[...] = cells
        else:
            flat[:, :, self.order] = cells
        moved = flat.reshape(self._moved(value).shape)
        return np.moveaxis(moved, range(1, 2 + len(self.axes)), (self.channel, *self.axes))

    def _flat(self, value: NDArray[Any]) -> NDArray[Any]:
        moved = self._moved(value)
        return moved.reshape(*moved.shape[:2], -1)

    def _moved(self, value: NDArray[Any]) -> NDArray[Any]:
        """(N, C, places), and what other axes of one element there are behind these."""
        return np.moveaxis(value, (self.channel, *self.axes), range(1, 2 + len(self.axes)))


def complete(flat: Positions) -> NDArray[np.int64] | None:
    """(h, w) indices of the places in the order of a grid; None where they form none of two rows and columns."""
    seen = np.flatnonzero(~np.isnan(flat[0]))
    ys, rows = _levels(flat[0, seen])
    xs, columns = _levels(flat[1, seen])
    if ys < 2 or xs < 2 or ys * xs != len(seen):
        return None
    order = np.full((ys, xs), -1, np.int64)
    order[rows, columns] = seen
    return None if (order < 0).any() else order


def _levels(values: NDArray[np.float32]) -> tuple[int, NDArray[np.int64]]:
    """How many different numbers there are, and which of them, in ascending order, each value is."""
    if not values.size:
        return 0, np.zeros(0, np.int64)
    order = np.argsort(values, kind="stable")
    steps = np.concatenate([[0], np.cumsum(np.diff(values[order]) > SAME)])
    level = np.empty(len(values), np.int64)
    level[order] = steps
    return int(steps[-1]) + 1, level
