"""The mean of any value: of a depth map, of an image that a network makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from ..dense import box_cells, map_axes
from ..in_graph import share
from ..registry import form, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target
from .mean_gradient import GRADIENT, MeanGradient
from .region import box_of, check_box


@kind
@dataclass(frozen=True)
class Mean(Target):
    """The mean of a value over all its places, or over a box where it is a map of the image.

    `box` is (y0, x0, y1, x1) in pixels of the original image (of the tensor, where a tensor was given).
    """

    value: str
    box: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_box(self.box)

    def __str__(self) -> str:
        box = "" if self.box is None else ":" + ",".join(f"{edge:g}" for edge in self.box)
        return f"mean:{self.value}{box}"

    def on(self, value: str) -> Target:
        return replace(self, value=value)

    def value_in(self, place: Place) -> str:
        return place.model.value(self.value).name

    def resolve(self, place: Place) -> Resolved:
        place.model.value(self.value)
        axes = None if self.box is None else map_axes(place.model, self.value)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros(y.shape, np.float32)
            if axes is None:
                weights[...] = 1 / max(1, weights[0].size)
                return weights[:, None]
            moved = np.moveaxis(weights, axes, (-2, -1))
            for row, cells in zip(moved, box_cells(place, moved.shape[-2:], len(y), self.box, None), strict=True):
                row[..., cells] = 1 / (cells.sum() * max(1, row[..., 0, 0].size))
            return weights[:, None]

        def emit(op: Emitter, of: str) -> str:
            return share(op, op.Expand(op.const(np.float32(1)), op.Shape(of)))

        in_graph = emit if self.box is None else None
        return FixedTarget(place.model, self.value, self, cotangents, True, emit=in_graph)


@form(
    "mean",
    "mean:VALUE or mean:VALUE:Y0,X0,Y1,X1; mean:|gradient| or mean:|gradient|:VALUE, then :Y0,X0,Y1,X1",
    "the mean of any value, over a box in pixels of the image where it is a map: depth, an image that is made; of the "
    "magnitude of its gradient: how much detail a super-resolution network makes",
)
def _mean(text: str) -> Target:
    value, box = box_of(text)
    if value == GRADIENT or value.startswith(GRADIENT + ":"):
        return MeanGradient(value[len(GRADIENT) + 1 :] or None, box)
    if not value:
        raise ValueError(text)
    return Mean(value, box)
