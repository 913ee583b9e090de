"""Windows over what is no image: along the axis of a signal, over rows and columns of a sequence, boxes of a volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..graph.model import Model
from .place_axes import place_axes
from .windows import WindowGrid, patches, starts

# Up to this many elements are hidden one by one; of longer inputs, stretches: about 128 of them, each half over the
# next.
ONE_BY_ONE = 1024
_STRETCHES = 64
# Boxes along each side of a volume.
_BOXES = 8


@dataclass(frozen=True)
class SignalWindows:
    """Windows over samples of one shape.

    `grid`: the windows over rows and columns. `axis`: of a sample (...), along which the columns run, through all
    other axes; None: a sample is (rows, columns) itself. `reason`: which windows, why, and how many runs they take.
    """

    grid: WindowGrid
    axis: int | None
    reason: str

    @property
    def count(self) -> int:
        return len(self.grid.boxes)

    def values(self, drops: NDArray[np.float64]) -> NDArray[np.float64]:
        """drops (R, windows) -> (R, n) along one axis, (R, rows, columns) over two."""
        found = drops.reshape(-1, *self.grid.shape)
        return found if self.axis is None else found[:, 0]

    def cover(self, drops: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """drops (R, windows) -> (R, rows, columns): at every place the mean of the windows over it."""
        return self.grid.mean_cover(drops.reshape(-1, *self.grid.shape))

    def hides(self, window: int) -> tuple[slice, ...]:
        """The part of a sample that a window hides."""
        y0, x0, y1, x1 = (int(edge) for edge in self.grid.boxes[window])
        if self.axis is None:
            return slice(y0, y1), slice(x0, x1)
        return (*[slice(None)] * self.axis, slice(x0, x1))


@dataclass(frozen=True)
class VolumeWindows:
    """Boxes over the three axes of a volume, through its channels, which come before them.

    sizes, patch, steps: along each axis. before: the axes before them.
    """

    sizes: tuple[int, ...]
    patch: tuple[int, ...]
    steps: tuple[int, ...]
    before: int
    reason: str

    @cached_property
    def _starts(self) -> list[NDArray[np.int64]]:
        return [starts(n, p, s) for n, p, s in zip(self.sizes, self.patch, self.steps, strict=True)]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many boxes stand along each axis."""
        return tuple(len(found) for found in self._starts)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def values(self, drops: NDArray[np.float64]) -> NDArray[np.float64]:
        """drops (R, boxes) -> (R, d, h, w)."""
        return drops.reshape(-1, *self.shape)

    def cover(self, drops: NDArray[np.float64]) -> None:
        """A volume has no plane."""

    def hides(self, window: int) -> tuple[slice, ...]:
        """The part of a sample that a box hides."""
        places = np.unravel_index(window, self.shape)
        first = [int(found[at]) for found, at in zip(self._starts, places, strict=True)]
        box = [slice(at, at + size) for at, size in zip(first, self.patch, strict=True)]
        return (*[slice(None)] * self.before, *box)


def volume_windows(
    name: str,
    sizes: Sequence[int],
    before: int,
    patch: int | str | Sequence[int | str] | None,
    stride: int | None,
) -> VolumeWindows:
    """Boxes over a volume: one number for all sides, DxHxW or [D, H, W]; by default an eighth of each side, side by
    side. Raises MethodError.
    """
    if patch is None:
        chosen, why = [max(1, -(-size // _BOXES)) for size in sizes], f"an {_BOXES}th of each side"
    else:
        parts = str(patch).lower().split("x") if isinstance(patch, str | int) else [str(part) for part in patch]
        if len(parts) not in (1, len(sizes)) or not all(part.strip().isdigit() for part in parts):
            raise MethodError(f"the patch of the volume {name!r} is a number, DxHxW or [D, H, W], not {patch}")
        chosen, why = [int(part) for part in parts] * (len(sizes) if len(parts) == 1 else 1), "as given"
    for size, side in zip(sizes, chosen, strict=True):
        if not 1 <= side <= size:
            raise MethodError(
                f"a patch of {chosen} does not fit the volume {name!r} of {list(sizes)}: give a smaller one"
            )
    step = chosen if stride is None and patch is None else [stride or max(1, side // 2) for side in chosen]
    text = "x".join(map(str, chosen))
    found = VolumeWindows(tuple(sizes), tuple(chosen), tuple(step), before, "")
    reason = f"boxes of {text} of {name!r} ({'x'.join(map(str, sizes))}) in steps of {'x'.join(map(str, step))}, {why}"
    return replace(found, reason=f"{reason}: {found.count} runs for each sample")


def signal_windows(
    model: Model,
    name: str,
    shape: Sequence[int],
    patch: int | str | Sequence[int | str] | None,
    stride: int | None,
) -> SignalWindows | VolumeWindows:
    """The windows for samples of this shape, without the batch axis.

    Signals, (channels, length) or (length, channels) in front of a convolution, series (time, features) and single rows
    are hidden along their one axis, through all channels; TxF, or [T, F], hides parts of features. Of
    other samples (rows, columns), single elements, RxC rows by columns, or, with one number, a stretch of the last axis
    through all rows. Of volumes, boxes through all channels. Of samples with more axes, stretches of the last. Raises
    MethodError.
    """
    axes = place_axes(model, name, shape)
    if len(axes) == 3:
        return volume_windows(name, [shape[a] for a in axes], axes[0], patch, stride)
    if isinstance(patch, Sequence) and not isinstance(patch, str) and len(patch) == len(shape) == 2:
        patch = f"{patch[0]}x{patch[1]}"
    two = "x" in str(patch).lower()
    # A feature hidden over all times says nothing about when.
    axis = axes[0] if axes else None if len(shape) == 2 else len(shape) - 1
    sizes = [None] if patch is None else patches(patch, (1, 1))
    if len(sizes) > 1:
        raise MethodError(f"the input {name!r} is not an image: give one patch, not {len(sizes)} sizes")
    if axis is not None:
        if two and len(shape) == 2 and sizes[0] is not None:
            times, features = sizes[0]
            return _over(name, (shape[0], shape[1]), (times, features) if axis == 0 else (features, times), stride)
        if two:
            raise MethodError(
                f"windows slide along axis {axis + 1} of the input {name!r} alone: give one number as the patch, "
                f"not {patch}"
            )
        return _along(name, shape[axis], axis, None if sizes[0] is None else sizes[0][1], stride)
    if sizes[0] is not None and not two:
        return _along(name, shape[1], 1, sizes[0][1], stride)
    return _over(name, (shape[0], shape[1]), sizes[0], stride)


def _along(name: str, size: int, axis: int, patch: int | None, stride: int | None) -> SignalWindows:
    why = "as given"
    if patch is None:
        patch, why = 1, "one by one"
        if size > ONE_BY_ONE:
            patch, why = -(-size // _STRETCHES), f"stretches, as one by one would take {size} runs"
    step = max(1, patch // 2) if stride is None else stride
    grid = WindowGrid((1, size), (1, patch), (1, step))
    reason = f"windows of {patch} in steps of {step} along axis {axis + 1} of {name!r} ({size} long), {why}"
    return SignalWindows(grid, axis, f"{reason}: {len(grid.boxes)} runs for each sample")


def _over(name: str, plane: tuple[int, int], patch: tuple[int, int] | None, stride: int | None) -> SignalWindows:
    rows, columns = plane
    why = "as given"
    if patch is None:
        patch, why = (1, 1), "one by one"
        if rows * columns > ONE_BY_ONE:
            patch = (-(-rows // _STRETCHES), columns) if rows >= columns else (rows, -(-columns // _STRETCHES))
            why = f"stretches of the longer axis, as one by one would take {rows * columns} runs"
    steps = (max(1, patch[0] // 2), max(1, patch[1] // 2)) if stride is None else (stride, stride)
    grid = WindowGrid(plane, patch, steps)
    reason = f"windows of {patch[0]} rows x {patch[1]} columns of {name!r} ({rows} x {columns}) in steps of {steps[0]}"
    return SignalWindows(grid, None, f"{reason} and {steps[1]}, {why}: {len(grid.boxes)} runs for each sample")
