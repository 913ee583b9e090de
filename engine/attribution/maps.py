"""What a method returns: maps for every sample, how they are reduced and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .inputs import Input

Reduce = Literal["max-abs", "sum", "none"]
Display = Literal["signed", "positive"]


@dataclass(frozen=True)
class Maps:
    """What a method returns for the rows of a problem: `GridMaps` or `InputMaps`.

    values: float32 (R, ...).
    plane: (R, h, w), a map over the input plane to be shown, for methods whose values are laid out otherwise.
    reduce: how channels become one number per pixel: "max-abs" the one of greatest magnitude, with its sign; "sum".
    display: "signed" values are shown in a diverging colour map around 0; "positive": what is negative counts as 0.
    in_colours: the three channels of the input are shown as red, green and blue around gray where no colour map is
        asked for.
    layer, reason: where the map was made, and why there.
    warnings: one tuple of texts for every row, or empty. details: numbers worth knowing, one mapping per row, or empty.
    """

    values: NDArray[np.float32]
    reduce: Reduce = "none"
    display: Display = "signed"
    layer: str | None = None
    reason: str | None = None
    plane: NDArray[np.float32] | None = None
    warnings: tuple[tuple[str, ...], ...] = ()
    details: tuple[Mapping[str, Any], ...] = ()
    in_colours: bool = False

    def shown(self, row: int, given: Input) -> NDArray[np.float32] | None:
        """The map of a row to be shown over the plane of the input, (h, w); None where there is no plane."""
        if self.plane is not None:
            return np.ascontiguousarray(self.plane[row], np.float32)
        return self._over_plane(np.ascontiguousarray(self.values[row], np.float32), given)

    def channels(self, row: int, given: Input) -> NDArray[np.float32] | None:
        """Red, green and blue of a row over the plane of the input, (3, h, w); None where it has no such channels."""
        return None

    def _over_plane(self, values: NDArray[np.float32], given: Input) -> NDArray[np.float32] | None:
        raise TypeError(f"{type(self).__name__} does not say where its values lie")


@dataclass(frozen=True)
class GridMaps(Maps):
    """Values (R, h, w): maps whose cells divide the input plane evenly."""

    def _over_plane(self, values: NDArray[np.float32], given: Input) -> NDArray[np.float32] | None:
        return values if values.ndim == 2 else None


@dataclass(frozen=True)
class InputMaps(Maps):
    """Values (R, ...) in the shape of the input tensor's samples."""

    def channels(self, row: int, given: Input) -> NDArray[np.float32] | None:
        if given.axes is None or given.channel is None or self.plane is not None:
            return None
        planes = np.moveaxis(np.asarray(self.values[row], np.float32), given.channel - 1, 0)
        if planes.ndim != 3 or len(planes) != 3:
            return None
        reads_bgr = given.card is not None and given.card.get("order") == "BGR"
        return np.ascontiguousarray(planes[::-1] if reads_bgr else planes)

    def _over_plane(self, values: NDArray[np.float32], given: Input) -> NDArray[np.float32] | None:
        if given.axes is None:
            return values.reshape(1, -1) if values.ndim == 1 else values if values.ndim == 2 else None
        flat = reduced(values, None if given.channel is None else given.channel - 1, self.reduce)
        return flat if flat.ndim == 2 else None


def reduced(values: NDArray[np.float32], channel: int | None, how: Reduce) -> NDArray[np.float32]:
    """One number per pixel of one sample. values: (C, H, W) or (H, W, C); channel: its channel axis, None if none."""
    if channel is None or how == "none":
        return values
    if how == "sum":
        return np.asarray(values.sum(axis=channel), np.float32)
    planes = np.moveaxis(values, channel, 0)
    strongest: NDArray[np.float32] = planes[0].copy()
    for plane in planes[1:]:  # several times faster than argmax over a short axis; of equals the first, as there
        greater = ~(np.abs(plane) <= np.abs(strongest))
        greater &= ~np.isnan(strongest)
        np.copyto(strongest, plane, where=greater)
    return strongest


def problems(values: NDArray[np.float32], display: Display, why: Callable[[], str] | None = None) -> tuple[str, ...]:
    """What is wrong with a map: NaN, all zero, saturated, nothing positive. why: where values that are not finite come
    from."""
    low, high = (values.min(), values.max()) if values.size else (np.float32(0), np.float32(0))
    if not (np.isfinite(low) and np.isfinite(high)):
        cause = "the model overflows on this input" if why is None else why()
        return (f"{int((~np.isfinite(values)).sum())} of {values.size} values are NaN or infinite: {cause}",)
    if low == high == 0:
        return ("the map is zero everywhere: the score does not depend on the input here",)
    if display == "positive" and high <= 0:
        return ("nothing speaks for the target: the map has no positive value",)
    most = max(-low, high)
    if values.size >= 16 and float(high - low) <= 1e-6 * float(most):
        return ("the map is the same everywhere: it says nothing about where",)
    saturated = np.count_nonzero(np.abs(values) >= 0.999 * most) / max(1, values.size)
    if values.size >= 64 and saturated > 0.5:
        return (f"the map is saturated: {saturated:.0%} of its values are at its maximum",)
    return ()
