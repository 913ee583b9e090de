"""A channel of a layer: its mean over all places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import TargetError
from ...methods.options import option
from ..build import Build, UnitPlace
from ..objective import Objective, objective


@objective("channel")
@dataclass(frozen=True)
class Channel(Objective):
    """The mean of a channel of a layer, before its activation function."""

    layer: str = option("", "The layer.")
    channel: int = option(0, "The channel.", low=0)

    def emit(self, build: Build) -> str:
        unit = build.unit(self.layer)
        weights = np.zeros(ones_but(unit, unit.channel), np.float32)
        at = [0] * weights.ndim
        at[unit.channel] = checked_channel(unit, self.channel)
        weights[tuple(at)] = 1 / np.prod([unit.shape[a] for a in unit.places], dtype=float)
        return build.weighted(unit, weights)

    @classmethod
    def arguments(cls, layer: str, rest: str) -> dict[str, Any]:
        return {"layer": layer, "channel": int(rest)}

    @classmethod
    def syntax(cls) -> str:
        return "channel:LAYER:CHANNEL"

    def __str__(self) -> str:
        return f"channel:{self.layer}:{self.channel}"


def ones_but(unit: UnitPlace, *axes: int) -> tuple[int, ...]:
    """The shape of the unit's value with sizes of 1 along all but these axes."""
    return tuple(d if a in axes else 1 for a, d in enumerate(unit.shape))


def checked_channel(unit: UnitPlace, channel: int) -> int:
    """Raises TargetError for a channel that the layer does not have."""
    if not 0 <= channel < unit.channels:
        raise TargetError(
            f"channel {channel} does not exist: the layer {unit.layer!r} has channels 0 to {unit.channels - 1}"
        )
    return channel
