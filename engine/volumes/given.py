"""What a user gives for a model of volumes: voxels, and where they lie in space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import VolumeError

# Voxels of a volume at most, 2 GiB of floats.
MOST_VOXELS = 1 << 29


class Volume:
    """A volume for a model that reads three axes of space, such as a CT or an MR scan.

    values: (D, H, W), slices, rows, columns, or (C, D, H, W) of several channels; kept as float32. spacing: of these
        axes in mm. affine: (4, 4), from (column, row, slice) to mm in space as in NIfTI: x to the right, y to the
        front, z to the top (RAS+); by default that of the spacing. window: (low, high), the values that pictures show
        as black and white; by default the first and the 99th hundredth. name: kept for the caller; no file has it.

    Raises VolumeError for values that are no volume, NaN or infinite ones, a spacing or an affine that is none.
    """

    def __init__(
        self,
        values: ArrayLike,
        spacing: ArrayLike | None = None,
        affine: ArrayLike | None = None,
        window: tuple[float, float] | None = None,
        name: str = "volume",
    ) -> None:
        self.values = _checked(np.asarray(values))
        if affine is not None:
            self.affine = np.asarray(affine, np.float64)
            if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all() or not np.linalg.det(self.affine):
                raise VolumeError("the affine of the volume is no invertible matrix (4, 4): give one, or the spacing")
            found = np.linalg.norm(self.affine[:3, :3], axis=0)[::-1]
            if spacing is not None and not np.allclose(np.asarray(spacing, np.float64), found, rtol=1e-3):
                raise VolumeError(
                    f"the spacing {spacing!r} is not that of the affine, {_shown(found)}: give one of them"
                )
            self.spacing = tuple(float(step) for step in found)
        else:
            self.spacing = _spacing(spacing)
            self.affine = np.diag([*self.spacing[::-1], 1.0])
        self.window = window
        self.name = name

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        depth, height, width = self.values.shape[-3:]
        return depth, height, width

    def __repr__(self) -> str:
        return f"Volume({'x'.join(map(str, self.values.shape))}, {_shown(self.spacing)} mm)"

    def ends(self) -> tuple[float, float]:
        """The values that pictures show as black and white."""
        if self.window is not None:
            return self.window
        sampled = self.values.ravel()[:: max(1, self.values.size // 1_000_000)]
        low, high = (float(end) for end in np.percentile(sampled, (1, 99)))
        return (low, high) if high > low else (float(sampled.min()), float(sampled.max()) + 1e-6)


def _shown(numbers: Any) -> str:
    return "x".join(f"{number:g}" for number in np.round(np.asarray(numbers, np.float64), 4))


def _checked(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind not in "fiub" or values.ndim not in (3, 4):
        raise VolumeError(f"a volume was given as {values.dtype} {list(values.shape)}: give (D, H, W) or (C, D, H, W)")
    if not values.size:
        raise VolumeError(f"the volume of {list(values.shape)} has no voxels: there is nothing to explain")
    if values.size > MOST_VOXELS:
        raise VolumeError(f"the volume has {values.size} voxels, more than the limit of {MOST_VOXELS}: cut it")
    found = np.ascontiguousarray(values, np.float32)
    bad = int(np.count_nonzero(~np.isfinite(found)))
    if bad:
        raise VolumeError(f"{bad} of {found.size} voxels are NaN or infinite: set them to the value of the background")
    return found


def _spacing(given: ArrayLike | None) -> tuple[float, ...]:
    found = np.asarray((1.0, 1.0, 1.0) if given is None else given, np.float64)
    if found.shape != (3,) or not (np.isfinite(found) & (found > 0)).all():
        raise VolumeError(f"the spacing {given!r} is not three lengths in mm, of slices, rows and columns")
    return tuple(float(step) for step in found)
