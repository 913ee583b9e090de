"""How much detail an image holds that a network makes: the mean magnitude of its gradient.

The target of local attribution maps for super-resolution, J. Gu and C. Dong, "Interpreting Super-Resolution Networks
with Local Attribution Maps", CVPR 2021, section 3.1: a detector of gradients, summed over a patch. Here Sobel's, with
an edge of one unit per pixel counting 1, and the mean over the patch and the channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graph.model import Model
from ...graph.upgrade import GRADIENT_OPSET, upgraded
from ...proto.writer import Writer
from ..appended import appended
from ..dense import box_cells, dense_output, map_axes
from ..registry import kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target
from .region import check_box

GRADIENT = "|gradient|"
_STEM, _VALUE = "onnxray/sobel", "onnxray/gradient_magnitude"
_SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8


@kind
@dataclass(frozen=True)
class MeanGradient(Target):
    """The mean magnitude of the gradient (Sobel) of a map, over a box where one is given.

    `value` is the map, None the output that is one. `box` is (y0, x0, y1, x1) in pixels of the original image (of the
    tensor, where a tensor was given), which the map covers at whatever size.
    """

    value: str | None = None
    box: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_box(self.box)

    @property
    def title(self) -> str:
        where = "" if self.box is None else f" in {', '.join(f'{edge:g}' for edge in self.box)}"
        return f"detail of {self.value or 'the output'}{where}"

    @property
    def of_answer(self) -> bool:
        return self.value is None

    def __str__(self) -> str:
        parts = ["mean", GRADIENT, self.value or ""]
        if self.box is not None:
            parts.append(",".join(f"{edge:g}" for edge in self.box))
        return ":".join(part for part in parts if part)

    def on(self, value: str) -> Target:
        return replace(self, value=value)

    def value_in(self, place: Place) -> str:
        if self.value is not None:
            return place.model.value(self.value).name
        return dense_output(place.model, None).value

    def resolve(self, place: Place) -> Resolved:
        name = self.value_in(place)
        axes = map_axes(place.model, name)
        model = _with_magnitude(upgraded(place.model, GRADIENT_OPSET), name, axes)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros(y.shape, np.float32)
            moved = np.moveaxis(weights, axes, (-2, -1))
            size: tuple[int, ...] = moved.shape[-2:]
            others = max(1, int(np.prod(moved.shape[1:-2])))
            if self.box is None:
                moved[...] = 1 / (size[0] * size[1] * others)
                return weights[:, None]
            for row, cells in zip(moved, box_cells(place, size, len(y), self.box, None), strict=True):
                row[..., cells] = 1 / (cells.sum() * others)
            return weights[:, None]

        return FixedTarget(model, _VALUE, self, cotangents, True, None, f"the detail of {name!r}")


def _with_magnitude(model: Model, name: str, axes: tuple[int, int]) -> Model:
    """The model with the magnitude of a map's gradient along `axes`, in the map's own shape."""
    writer, value = Writer(model.values), model.value(name)
    rank = value.rank or 4
    places = [axis - (max(axes) == rank) for axis in axes]  # counted with an axis of samples, be it that there is none
    order = [axis for axis in range(rank) if axis not in places] + places

    def one(op_type: str, *inputs: str, **attributes: object) -> str:
        return writer.node(op_type, inputs, [writer.numbered(_STEM)], **attributes)

    def const(numbers: object, kind: Any = np.int64) -> str:
        return writer.initializer(writer.numbered(_STEM), np.array(numbers, kind))

    last = one("Transpose", name, perm=order)
    shape = one("Shape", last)
    plane = one("Slice", shape, const([rank - 2]), const([rank]))
    planes = one("Reshape", last, one("Concat", const([-1, 1]), plane, axis=0))
    wide = one("Pad", planes, const([0, 0, 1, 1, 0, 0, 1, 1]), mode="edge")
    slopes = one("Conv", wide, const(np.stack([_SOBEL, _SOBEL.T])[:, None], value.dtype or np.float32))
    size = one("Reshape", one("ReduceL2", slopes, const([1]), keepdims=1), shape)
    writer.node("Transpose", [size], [_VALUE], perm=[order.index(axis) for axis in range(rank)])
    return appended(model, writer, _VALUE)
