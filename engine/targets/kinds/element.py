"""One number of any value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from ...errors import TargetError
from ..in_graph import element_mask, share
from ..registry import form, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target
from ..units import element_places


@kind
@dataclass(frozen=True)
class Element(Target):
    """One number of a value, per sample.

    `index` has an entry per axis after the batch, for a value without a batch one per axis: a number, "max" or "mean".
    """

    value: str
    index: tuple[int | str, ...]

    def __post_init__(self) -> None:
        for entry in self.index:
            if isinstance(entry, str) and entry not in ("max", "mean"):
                raise TargetError(f"the index {entry!r} of an element is neither a number nor 'max' nor 'mean'")

    def __str__(self) -> str:
        # A colon at the end tells a name that holds one from a name and an index.
        index = ":" + ",".join(map(str, self.index)) if self.index or ":" in self.value else ""
        return f"element:{self.value}{index}"

    def on(self, value: str) -> Target:
        return replace(self, value=value)

    def value_in(self, place: Place) -> str:
        return place.model.value(self.value).name

    def resolve(self, place: Place) -> Resolved:
        place.model.value(self.value)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            return element_places(y, self.index, str(self))

        def emit(op: Emitter, of: str) -> str:
            return share(op, element_mask(op, of, self.index, str(self)))

        return FixedTarget(place.model, self.value, self, cotangents, "max" not in self.index, emit=emit)


@form(
    "element",
    "element:VALUE:INDEX,INDEX,... with a number, 'max' or 'mean' for every axis after the batch; element:VALUE for a "
    "value of one number per sample",
    "one number of any value; `max` along an axis takes the greatest, `mean` the mean",
)
def _element(text: str) -> Target:
    value, colon, rest = text.rpartition(":")
    if not colon:
        value, rest = text, ""  # a value of one number per sample
    if not value:
        raise ValueError(text)
    entries = [part.strip() for part in rest.split(",")] if rest.strip() else []
    return Element(value, tuple(e if e in ("max", "mean") else int(e) for e in entries))
