"""The units of a layer: where they lie in its value, and which part of an image each of their places sees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, ModelError, ShapeError, TargetError
from ..graph.model import Model
from ..inspect.concrete_shapes import concrete_shapes
from ..inspect.layers import Layer, layer_names, value_of
from ..inspect.position_trace import trace
from ..inspect.receptive_field import ReceptiveField
from ..inspect.signature import image_input
from ..inspect.token_grid import Grid
from ..optimize.build import logits_of
from ..optimize.linear import Linear, linear_value
from ..preprocess.geometry import Geometry
from ..targets.units import unit_axes

Kind = Literal["map", "tokens", "dense", "classes"]
Box = tuple[float, float, float, float]
# Name of the layer that the scores of the classes are.
CLASSES = "classes"


@dataclass(frozen=True)
class UnitLayer:
    """A layer whose units are surveyed.

    Attributes:
        name: as it was asked for; "classes" for the scores of the classes.
        kind: "map" (channels over the image), "tokens" (features of tokens that lie on the image), "dense" (one number
            per image) or "classes".
        value: the layer's value. read: the value or values that the numbers are read from, before the activation
            function where that was asked for, joined along `joined`.
        channel, axes: the axis of units and those of places in (N, ...). grid: cells of the places, () for one place.
        order: of places that do not lie in reading order, which of them lies at each cell; None: as they come.
        field: what a place sees in pixels of the model's input, None where that is all of it, or a patch (tokens).
        units: how many.
        plane: (height, width) of the model's input in pixels.
    """

    name: str
    kind: Kind
    value: str
    read: tuple[str, ...]
    joined: int
    channel: int
    axes: tuple[int, ...]
    grid: tuple[int, ...]
    order: NDArray[np.int64] | None
    field: ReceptiveField | None
    units: int
    plane: tuple[int, int]

    @property
    def places(self) -> int:
        """How many places a unit has."""
        return math.prod(self.grid)

    def maps(self, values: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(N, units, places) of the values (N, ...) in `read`."""
        parts = [values[name] for name in self.read]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, self.joined)
        moved = np.moveaxis(whole, (self.channel, *self.axes), (1, *range(2, 2 + len(self.axes))))
        flat = moved.reshape(*moved.shape[:2], -1)
        flat = flat if self.order is None else flat[:, :, self.order]
        return np.ascontiguousarray(flat, np.float32)

    def cell(self, place: int) -> tuple[int, ...]:
        """A place as (y, x) in the grid; () for layers of one place."""
        return tuple(int(i) for i in np.unravel_index(place, self.grid)) if self.grid else ()

    def box(self, place: int, geometry: Geometry) -> Box:
        """What the place sees of the original image: (y0, x0, y1, x1) in its pixels, with fractions.

        It is cut at the edges of what the model sees of the image; of a place that sees only padding, nothing is left
        and the box has no area.
        """
        seen = geometry.box
        # Plain numbers, as `Geometry.to_original` computes them: a survey has hundreds of thousands of boxes.
        ends = [
            [
                min(max((end[axis] - geometry.offset[axis]) * share, seen[axis]), seen[axis + 2])
                for axis, share in enumerate(a / b for a, b in zip(geometry.original, geometry.resized, strict=True))
            ]
            for end in self._ends(place)
        ]
        return ends[0][0], ends[0][1], ends[1][0], ends[1][1]

    def to_mapping(self) -> dict[str, Any]:
        """As JSON-like data, without `order`, which only a run needs."""
        plain = {name: value for name, value in vars(self).items() if name != "order"}
        return {
            **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
            "field": None if self.field is None else [list(part) for part in self.field],
        }

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> UnitLayer:
        """What `to_mapping` gave. Raises TypeError, ValueError for anything else."""
        parts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        field = plain.get("field")
        parts["field"] = None if field is None else ReceptiveField(*(tuple(part) for part in field))
        return cls(**parts, order=None)

    def plane_box(self, place: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """First and last corner (y, x) of what the place sees, in pixels of the model's input; it may reach beyond."""
        low, high = self._ends(place)
        return np.array(low, np.float64), np.array(high, np.float64)

    def _ends(self, place: int) -> tuple[list[float], list[float]]:
        plane = [float(side) for side in self.plane]
        if len(self.grid) != 2:
            return [0.0, 0.0], plane
        cell = (float(place // self.grid[1]), float(place % self.grid[1]))
        if self.field is not None:
            parts = zip(cell, *self.field, strict=True)
            both = [(at * stride + offset + 0.5, size / 2) for at, size, stride, offset in parts]
            return [middle - half for middle, half in both], [middle + half for middle, half in both]
        if self.kind == "tokens":
            sides = list(zip(cell, plane, self.grid, strict=True))
            return [at * side / cells for at, side, cells in sides], [
                (at + 1) * side / cells for at, side, cells in sides
            ]
        return [0.0, 0.0], plane


def unit_layers(
    model: Model, layers: Any = None, *, before: bool = True, plane: tuple[int, int] = (0, 0)
) -> list[UnitLayer]:
    """The layers that are asked for; None: the scores of the classes.

    layers: names, `Layer`s, or "classes". before: read the value before the activation function. plane: (height,
    width) of the model's input. Raises UnknownName, TargetError (no units, or no classes), MethodError (a layer twice).
    """
    names = layer_names(layers) or (CLASSES,)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise MethodError(f"the layer {twice[0]!r} was given twice: name each once")
    known = value_names(model)
    return [
        _classes(model, plane) if name == CLASSES and name not in known else _layer(model, name, before, plane)
        for name in names
    ]


def value_names(model: Model) -> frozenset[str]:
    """Names that are a layer's or a value's already."""
    return frozenset((*model.values, *(layer.name for layer in model.layers)))


def _classes(model: Model, plane: tuple[int, int]) -> UnitLayer:
    value, axis, _ = logits_of(model)
    return _settled(model, CLASSES, "classes", value, Linear(value), axis, (), None, None, plane)


def _layer(model: Model, name: str, before: bool, plane: tuple[int, int]) -> UnitLayer:
    value = value_of(model, name)
    if model.producer(value) is None and value not in {v.name for v in model.inputs}:
        raise TargetError(f"{name!r} is a constant, the same for every image: choose a layer")
    linear = linear_value(model, value) if before else Linear(value)
    found: Layer | None = next((layer for layer in model.layers if layer.output == value), None)
    field = found.receptive_field if found is not None else None
    grid = _grid(model, value)
    if grid is not None:
        plain = grid.order is None and len(grid.axes) == 2
        kind: Kind = "map" if plain else "tokens"
        return _settled(model, name, kind, value, linear, grid.channel, grid.axes, grid, field, plane)
    _, channel, axes = unit_axes(model, name)
    return _settled(model, name, "dense" if not axes else "map", value, linear, channel, axes, None, field, plane)


def _grid(model: Model, value: str) -> Grid | None:
    try:
        return trace(model).grid(value)
    except (ModelError, ShapeError):
        return None


def _samples(model: Model) -> int:
    """The length of the batch's axis in `concrete_shapes`: 1, or the batch size that the model fixes."""
    shape = concrete_shapes(model).get(image_input(model).name)
    return shape[0] if shape and "N" in (image_input(model).layout or "N") else 1


def _settled(
    model: Model,
    name: str,
    kind: Kind,
    value: str,
    linear: Linear,
    channel: int,
    axes: Sequence[int],
    grid: Grid | None,
    field: ReceptiveField | None,
    plane: tuple[int, int],
) -> UnitLayer:
    shape = concrete_shapes(model).get(value)
    if shape is None or any(n < 1 for n in shape):
        raise TargetError(f"how many units {name!r} has is not known: choose a layer next to it, or give size=")
    if shape[0] != _samples(model):
        raise TargetError(
            f"the first axis of the value {value!r}, {list(shape)}, is not the batch: choose another layer"
        )
    kinds = [dtype.kind for v in linear.values if (dtype := model.value(v).dtype) is not None]
    if any(kind not in "fiu" for kind in kinds):
        raise TargetError(f"the layer {name!r} holds no numbers: choose another")
    cells = grid.shape if grid is not None else tuple(shape[a] for a in axes)
    order = grid.order if grid is not None else None
    units = shape[channel] if channel < len(shape) else 1
    if channel >= len(shape):
        raise TargetError(f"the value {value!r} of shape {list(shape)} has no axis of units: choose another layer")
    axis = linear.axis % len(shape)
    return UnitLayer(
        name, kind, value, linear.values, axis, channel, tuple(axes), tuple(cells), order, field, int(units), plane
    )
