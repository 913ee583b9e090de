"""Windows over what is no image: along the axis of a signal, or over the rows and columns of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import MethodError
from ..graph.model import Model
from ..inspect.concrete_shapes import spatial_input
from .windows import WindowGrid, patches

# Up to this many elements are hidden one by one; of longer inputs, stretches: about 128 of them, each half over the
# next.
ONE_BY_ONE = 1024
_STRETCHES = 64


@dataclass(frozen=True)
class SignalWindows:
    """Windows over samples of one shape.

    `grid`: the windows over rows and columns. `axis`: of a sample (...), along which the columns run, through all
    other axes; None: a sample is (rows, columns) itself. `reason`: which windows, why, and how many runs they take.
    """

    grid: WindowGrid
    axis: int | None
    reason: str

    def hides(self, window: int) -> tuple[slice, ...]:
        """The part of a sample that a window hides."""
        y0, x0, y1, x1 = (int(edge) for edge in self.grid.boxes[window])
        if self.axis is None:
            return slice(y0, y1), slice(x0, x1)
        return (*[slice(None)] * self.axis, slice(x0, x1))


def signal_windows(
    model: Model,
    name: str,
    shape: Sequence[int],
    patch: int | str | Sequence[int | str] | None,
    stride: int | None,
) -> SignalWindows:
    """The windows for samples of this shape, without the batch axis.

    Signals, (channels, length) in front of a convolution, and single rows are hidden along their one axis, through all
    channels. Of samples (rows, columns), such as (time, features), single elements, RxC rows by columns, or, with one
    number, a stretch of the last axis through all rows. Of samples with more axes, stretches of the last. Raises
    MethodError.
    """
    axis = _axis(model, name, shape)
    sizes = [None] if patch is None else patches(patch, (1, 1))
    if len(sizes) > 1:
        raise MethodError(f"the input {name!r} is not an image: give one patch, not {len(sizes)} sizes")
    two = "x" in str(patch).lower()
    if axis is not None:
        if two:
            raise MethodError(
                f"windows slide along axis {axis + 1} of the input {name!r} alone: give one number as the patch, "
                f"not {patch}"
            )
        return _along(name, shape[axis], axis, None if sizes[0] is None else sizes[0][1], stride)
    if sizes[0] is not None and not two:
        return _along(name, shape[1], 1, sizes[0][1], stride)
    return _over(name, (shape[0], shape[1]), sizes[0], stride)


def _axis(model: Model, name: str, shape: Sequence[int]) -> int | None:
    """The axis of a sample that windows slide along; None: over both of a sequence (time, features)."""
    source = spatial_input(model)
    if source is not None and source[0] == name and len(source[1]) == 1:
        return source[1][0] - 1
    if len(shape) == 2 and min(shape) > 1:
        return None
    return 0 if len(shape) == 2 and shape[1] == 1 else len(shape) - 1


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
