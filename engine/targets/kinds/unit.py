"""Units of a layer: a channel, its mean or one place of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from ...errors import TargetError
from ..in_graph import share, unit_mask
from ..registry import form, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import STRONGEST, Target
from ..units import unit_axes


@kind
@dataclass(frozen=True)
class Unit(Target):
    """A channel of a layer: its mean over all places, or the unit at one place.

    `channel` is an index or "strongest" (the channel with the greatest value); `at` is None, the place on the
    layer's map (or the token's number), or "strongest" (the place of the channel's greatest value).
    """

    layer: str
    channel: int | str = STRONGEST
    at: tuple[int, ...] | str | None = None

    def __post_init__(self) -> None:
        for value in (self.channel, self.at):
            if isinstance(value, str) and value != STRONGEST:
                raise TargetError(f"the unit's {value!r} is neither a number nor {STRONGEST!r}")

    def __str__(self) -> str:
        at = "" if self.at is None else f",{self.at}" if isinstance(self.at, str) else "," + ",".join(map(str, self.at))
        return f"unit:{self.layer}:{self.channel}{at}"

    @property
    def title(self) -> str:
        at = "" if self.at is None else f" at {self.at if isinstance(self.at, str) else ', '.join(map(str, self.at))}"
        return f"{self.layer} channel {self.channel}{at}"

    def on(self, value: str) -> Target:
        return replace(self, layer=value)

    def value_in(self, place: Place) -> str:
        return unit_axes(place.model, self.layer)[0]

    def resolve(self, place: Place) -> Resolved:
        value, channel_axis, axes = unit_axes(place.model, self.layer)
        if isinstance(self.at, tuple) and len(self.at) != len(axes):
            raise TargetError(
                f"the layer {self.layer!r} has {len(axes)} axes of places, the target {self} names {len(self.at)}"
            )

        def units(y: NDArray[Any]) -> list[Target]:
            moved = np.moveaxis(y, channel_axis, 1).reshape(len(y), y.shape[channel_axis], -1)
            return [self._found(maps, tuple(y.shape[a] for a in axes)) for maps in moved]

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            result = np.zeros((len(y), 1, *y.shape[1:]), np.float32)
            for unit, out in zip(units(y), result, strict=True):
                assert isinstance(unit, Unit)
                seen = np.moveaxis(out[0], channel_axis - 1, 0)[unit.channel, ...]
                seen[unit.at if unit.at is not None else ...] = 1 if unit.at is not None else 1 / max(1, seen.size)
            return result

        def emit(op: Emitter, of: str) -> str:
            size = op.shape(of)[channel_axis]
            if isinstance(size, int) and isinstance(self.channel, int) and not 0 <= self.channel < size:
                raise self._beyond(size)
            channel = None if isinstance(self.channel, str) else self.channel
            return share(op, unit_mask(op, of, channel, self.at, (channel_axis, *axes)))

        constant = STRONGEST not in (self.channel, self.at)
        return FixedTarget(place.model, value, self, cotangents, constant, units, emit=emit)

    def _beyond(self, channels: int) -> TargetError:
        return TargetError(f"the layer {self.layer!r} has channels 0 to {channels - 1}, not {self.channel}")

    def _found(self, maps: NDArray[Any], places: tuple[int, ...]) -> Unit:
        """The unit that is meant, for one sample's maps (C, places)."""
        channel, at = self.channel, self.at
        if isinstance(channel, str):
            channel = int(maps.max(axis=1).argmax())
        if not 0 <= channel < len(maps):
            raise self._beyond(len(maps))
        if isinstance(at, str):
            at = tuple(int(i) for i in np.unravel_index(int(maps[channel].argmax()), places)) if places else None
        if at is not None and any(not 0 <= i < n for i, n in zip(at, places, strict=True)):
            raise TargetError(f"the layer {self.layer!r} has places up to {[n - 1 for n in places]}, not {list(at)}")
        return Unit(self.layer, channel, at)


@form(
    "unit",
    "unit:LAYER:CHANNEL, unit:LAYER:CHANNEL,Y,X or unit:LAYER:strongest,strongest",
    "a channel of a layer: its mean over all places, or the unit at one place; `strongest` finds the greatest",
)
def _unit(text: str) -> Target:
    layer, _, rest = text.rpartition(":")
    if not layer:
        raise ValueError(text)
    channel, *at = [part.strip() for part in rest.split(",")]
    where: tuple[int, ...] | str | None = tuple(int(i) for i in at) if at != [STRONGEST] else STRONGEST
    return Unit(layer, channel if channel == STRONGEST else int(channel), where or None)
