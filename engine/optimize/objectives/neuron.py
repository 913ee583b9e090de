"""A single neuron: a channel of a layer at one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import TargetError
from ...methods.options import option
from ..build import Build
from ..objective import Objective, objective
from .channel import checked_channel


@objective("neuron")
@dataclass(frozen=True)
class Neuron(Objective):
    """A channel of a layer at one place, before its activation function; without a place, in the middle."""

    layer: str = option("", "The layer.")
    channel: int = option(0, "The channel.", low=0)
    at: tuple[int, ...] | None = option(None, "The place on the layer's map, (y, x).")

    def emit(self, build: Build) -> str:
        unit = build.unit(self.layer)
        sizes = [unit.shape[a] for a in unit.places]
        place = [size // 2 for size in sizes] if self.at is None else [int(i) for i in self.at]
        if len(place) != len(sizes) or any(not 0 <= i < size for i, size in zip(place, sizes, strict=True)):
            raise TargetError(
                f"the place {','.join(map(str, place))} does not exist: the map of {self.layer!r} is "
                f"{'x'.join(map(str, sizes))} at this size of the image"
            )
        weights = np.zeros((1, *unit.shape[1:]), np.float32)
        at = [0] * weights.ndim
        at[unit.channel] = checked_channel(unit, self.channel)
        for axis, i in zip(unit.places, place, strict=True):
            at[axis] = i
        weights[tuple(at)] = 1
        return build.weighted(unit, weights)

    @classmethod
    def arguments(cls, layer: str, rest: str) -> dict[str, Any]:
        channel, *place = (int(part) for part in rest.split(","))
        return {"layer": layer, "channel": channel, "at": tuple(place) or None}

    @classmethod
    def syntax(cls) -> str:
        return "neuron:LAYER:CHANNEL,Y,X, or neuron:LAYER:CHANNEL for the middle"

    def __str__(self) -> str:
        return f"neuron:{self.layer}:{','.join(str(i) for i in (self.channel, *(self.at or ())))}"
