"""An explained volume: its heat on the voxels as they were given, and slices as they are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .given import Volume


@dataclass(frozen=True, eq=False)
class ExplainedVolume:
    """An explained volume. given: the volume. values: float32 (D, H, W), the heat on its voxels, signed; its affine is
    the volume's."""

    given: Volume
    values: NDArray[np.float32]

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): from (column, row, slice) to mm, RAS+."""
        return self.given.affine

    @property
    def hottest(self) -> tuple[int, int, int]:
        """The voxel (slice, row, column) of the greatest magnitude."""
        z, y, x = np.unravel_index(int(np.abs(np.nan_to_num(self.values)).argmax()), self.values.shape)
        return int(z), int(y), int(x)

    @property
    def hottest_mm(self) -> tuple[float, float, float]:
        """The same voxel's middle in mm, RAS+."""
        z, y, x = self.hottest
        found = self.affine @ np.array([x, y, z, 1.0])
        return float(found[0]), float(found[1]), float(found[2])


@dataclass(frozen=True)
class Turned:
    """How the axes of a volume are turned to be looked at as radiologists do: slices from the feet up, rows from the
    front to the back, columns from the patient's right to the left.

    axes: of the volume, in this order; flipped: which of them run the other way.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(D, H, W), turned."""
        moved: NDArray[np.float32] = values.transpose(self.axes)
        return moved[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]

    def spacing(self, given: tuple[float, ...]) -> tuple[float, float, float]:
        a, b, c = (given[axis] for axis in self.axes)
        return a, b, c

    def place(self, voxel: tuple[int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Where a voxel lies in the turned volume."""
        found = [
            shape[axis] - 1 - voxel[axis] if flip else voxel[axis]
            for axis, flip in zip(self.axes, self.flipped, strict=True)
        ]
        return found[0], found[1], found[2]

    def original(self, place: int, axis: int, shape: tuple[int, ...]) -> int:
        """The number in the volume's own order of a slice along a turned axis."""
        return shape[self.axes[axis]] - 1 - place if self.flipped[axis] else place


def turned(affine: NDArray[np.float64]) -> Turned:
    """How a volume with that affine is turned, by the nearest axes of space."""
    # Columns: of the volume's axes slice, row, column; rows: to the right, to the front, to the top.
    directions = affine[:3, :3][:, ::-1] / np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    free, axes, flips = [0, 1, 2], [], []
    for world, sign in ((2, 1), (1, -1), (0, -1)):
        best = max(free, key=lambda axis: abs(directions[world, axis]))
        free.remove(best)
        axes.append(best)
        flips.append(bool(directions[world, best] * sign < 0))
    return Turned((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))
