"""The sum of a value's elements, each times a number of the caller's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import TargetError
from ..files import array_of
from ..registry import form, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target


@kind
@dataclass(frozen=True)
class Cotangent(Target):
    """The sum of a value's elements times `array`, which has the value's shape, with or without the batch axis."""

    value: str
    array: NDArray[Any] = field(compare=False)
    file: str | None = None

    def __str__(self) -> str:
        return f"cotangent:{self.value}:{self.file or f'array of shape {list(self.array.shape)}'}"

    def value_in(self, place: Place) -> str:
        return place.model.value(self.value).name

    def on(self, value: str) -> Target:
        return replace(self, value=value)

    def resolve(self, place: Place) -> Resolved:
        place.model.value(self.value)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            array = self.array.astype(np.float32)
            if array.shape == y.shape[1:]:
                array = np.broadcast_to(array, y.shape)
            if array.shape != y.shape:
                raise TargetError(
                    f"the cotangent of shape {list(self.array.shape)} does not fit {self.value!r} ({list(y.shape)})"
                )
            return array[:, None]

        return FixedTarget(place.model, self.value, self, cotangents, True)


@form("cotangent", "cotangent:VALUE:FILE.npy", "the sum of a value's elements, each times a number of the file")
def _cotangent(text: str) -> Target:
    value, _, file = text.rpartition(":")
    if not value:
        raise ValueError(text)
    return Cotangent(value, array_of(file, "the cotangent's file"), file)
