"""A direction in a layer's activation space: several channels at once, each with its weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import MethodError, TargetError
from ...methods.options import option
from ...preprocess.arrays import read_array
from ..build import Build
from ..objective import Objective, objective


@objective("direction")
@dataclass(frozen=True)
class Direction(Objective):
    """The mean over all places of the product of a layer's channels with a vector of length 1."""

    layer: str = option("", "The layer.")
    vector: np.ndarray | None = option(None, "A number for every channel.")  # noqa: RUF009

    def emit(self, build: Build) -> str:
        unit = build.unit(self.layer)
        if self.vector is None:
            raise MethodError("a direction needs its vector: one number for every channel of the layer")
        vector = np.asarray(self.vector, np.float64)
        if vector.shape != (unit.channels,):
            raise TargetError(
                f"a direction of shape {list(vector.shape)} does not fit the layer {self.layer!r}, which has "
                f"{unit.channels} channels: give one number for each"
            )
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise TargetError("a direction must be finite numbers, not all of them 0")
        shape = [1] * len(unit.shape)
        shape[unit.channel] = unit.channels
        places = np.prod([unit.shape[a] for a in unit.places], dtype=float)
        return build.weighted(unit, (vector / length / places).reshape(shape))

    @classmethod
    def parse(cls, text: str) -> Objective:
        layer, _, file = text.rpartition(":")
        try:
            return cls(layer, read_array(file))
        except ValueError as error:
            raise MethodError(f"the direction's file {file!r} cannot be read as a NumPy array: {error}") from None

    def __str__(self) -> str:
        return f"direction:{self.layer}"
