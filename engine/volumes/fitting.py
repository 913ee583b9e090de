"""From a volume to the input of a model and back: order of axes, spacing, size, normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import VolumeError
from ..graph.model import Model
from ..inspect.concrete_shapes import spatial_input
from .given import Volume

# The sides of an input, where nothing says them, at most.
_MOST_SIDE = 4096


@dataclass(frozen=True)
class Fitting:
    """How a volume becomes the input `name`.

    shape: (D, H, W) of the volume; order: "zyx" as given, or "xyz"; size: of the input's three axes; patch: the first
    voxel of what is cut out, in the volume's order, None: all of it is resized. axes: of the input (N, ...) along which
    they lie; channels: its axis of channels. notes: what is to be said.
    """

    name: str
    shape: tuple[int, int, int]
    order: str
    size: tuple[int, int, int]
    patch: tuple[int, int, int] | None
    axes: tuple[int, int, int]
    channel: int
    normalise: str
    notes: tuple[str, ...] = ()

    def tensor(self, volume: Volume) -> NDArray[np.float32]:
        """The input (1, ...) of the volume."""
        values = volume.values if volume.values.ndim == 4 else volume.values[None]
        made = np.stack([resized(self._ordered(self._cut(one)), self.size) for one in values])
        return np.moveaxis(normalised(made, self.normalise), 0, self.channel - 1)[None]

    def back(self, heat: NDArray[np.float32]) -> NDArray[np.float32]:
        """A map over the input's three axes (D', H', W') on the voxels of the volume (D, H, W); 0 outside a patch."""
        shape = self.shape if self.patch is None else self._sides
        back = resized(heat, shape if self.order == "zyx" else shape[::-1])
        back = back if self.order == "zyx" else back.transpose(2, 1, 0)
        if self.patch is None:
            return np.ascontiguousarray(back)
        whole = np.zeros(self.shape, np.float32)
        place = tuple(
            slice(at, min(at + side, n)) for at, side, n in zip(self.patch, self._sides, self.shape, strict=True)
        )
        whole[place] = back[tuple(slice(0, part.stop - part.start) for part in place)]
        return whole

    @property
    def _sides(self) -> tuple[int, int, int]:
        """Of a patch, in the order of the volume."""
        depth, height, width = self.size if self.order == "zyx" else self.size[::-1]
        return depth, height, width

    def _ordered(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values if self.order == "zyx" else values.transpose(2, 1, 0)

    def _cut(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.patch is None:
            return values
        part = values[tuple(slice(at, at + side) for at, side in zip(self.patch, self._sides, strict=True))]
        short = [(0, side - n) for side, n in zip(self._sides, part.shape, strict=True)]
        return np.pad(part, short, constant_values=float(values.min()))


def takes_volumes(model: Model) -> bool:
    """Whether a model reads three axes of space."""
    found = spatial_input(model)
    return found is not None and len(found[1]) == 3


def fitting(model: Model, volume: Volume) -> Fitting:
    """How the volume fits the model, by its input and the `volume` field of its card. Raises VolumeError."""
    said: Mapping[str, Any] = model.overrides.get("volume") or {}
    found = spatial_input(model)
    if found is None or len(found[1]) != 3:
        listed = ", ".join(str(v) for v in model.inputs)
        raise VolumeError(f"the model reads no three axes of space ({listed}): give a model of volumes")
    name, axes = found
    declared = model.value(name).shape or ()
    rest = [axis for axis in range(1, len(declared)) if axis not in axes]
    if len(rest) != 1:
        raise VolumeError(f"the input {model.value(name)} has no axis of channels: (N, C, D, H, W) takes volumes")
    channels = len(volume.values) if volume.values.ndim == 4 else 1
    wanted = declared[rest[0]]
    if isinstance(wanted, int) and wanted != channels:
        raise VolumeError(
            f"the model takes {wanted} channels and the volume has {channels}: give (C, D, H, W), or a NIfTI file of "
            f"{wanted} volumes"
        )
    order, patch = said.get("order", "zyx"), said.get("patch")
    if patch is not None and "spacing" in said:
        raise VolumeError("the card's patch counts voxels as given, its spacing makes others: give one of them")
    own: tuple[int, ...] = volume.shape if order == "zyx" else volume.shape[::-1]
    spacing = volume.spacing if order == "zyx" else volume.spacing[::-1]
    if "spacing" in said:
        own_mm = zip(own, spacing, said["spacing"], strict=True)
        own = tuple(max(1, round(n * step / to)) for n, step, to in own_mm)
    sides = [
        n if isinstance(n, int) else min(side, _MOST_SIDE) for n, side in zip(_of(declared, axes), own, strict=True)
    ]
    size = (sides[0], sides[1], sides[2])
    notes = []
    if patch is None and any(
        isinstance(n, int) and n != side for n, side in zip(_of(declared, axes), own, strict=True)
    ):
        notes.append(f"the volume of {_text(own)} is resized to {_text(size)}, which the model takes")
    if patch is not None and any(at >= n for at, n in zip(patch, volume.shape, strict=True)):
        raise VolumeError(f"the patch at {list(patch)} begins outside the volume of {_text(volume.shape)}")
    first = None if patch is None else (patch[0], patch[1], patch[2])
    places = (axes[0], axes[1], axes[2])
    return Fitting(name, volume.shape, order, size, first, places, rest[0], said.get("normalise", "none"), tuple(notes))


def _of(declared: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    return [declared[axis] for axis in axes]


def _text(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def resized(values: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """(D, H, W) at another size: linear between the centres of voxels (scipy.ndimage.zoom in grid mode)."""
    if values.shape == tuple(size):
        return values
    from scipy.ndimage import zoom

    factors = [to / n for n, to in zip(values.shape, size, strict=True)]
    return np.asarray(zoom(values, factors, order=1, mode="nearest", grid_mode=True), np.float32)


def normalised(values: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """(C, D, H, W), each channel by itself: "none"; "z-score"; "foreground", the z-score of what is above the least
    value, as of MR scans; "unit", 0 to 1."""
    if how == "none":
        return values
    out = np.empty_like(values)
    for channel, one in enumerate(values):
        seen = one[one > one.min()] if how == "foreground" and one.max() > one.min() else one
        if how == "unit":
            low, span = float(one.min()), float(one.max() - one.min())
        else:
            low, span = float(seen.mean(dtype=np.float64)), float(seen.std(dtype=np.float64))
        out[channel] = (one - low) / (span or 1.0)
    return out
