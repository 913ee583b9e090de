"""Sizes in numbers: what the shapes of a model become for one sample of a usual size."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from ..errors import CardError, ModelError, ShapeError
from ..graph.model import Model
from ..graph.split import expose
from ..proto.categories import category
from ..proto.edit import copied
from ..proto.values import Value
from ..runtime.trial import trial_run
from .signal_axes import convolved_axes
from .signature import image_input

Sizes: TypeAlias = dict[str, "tuple[int, ...] | None"]

# Of what no one says otherwise: sides of an image in pixels, other lengths, bytes of the inputs of a trial run.
_SIDE = 224
_LENGTH = 16
_MOST_BYTES = 256 << 20


def spatial_input(model: Model) -> tuple[str, tuple[int, ...]] | None:
    """The input along whose spatial axes receptive fields are measured: the image, else a signal or a volume."""
    try:
        found = image_input(model)
        return found.name, found.axes
    except (ModelError, CardError):
        pass
    return convolved_axes(model)


def concrete_shapes(model: Model) -> Sizes:
    """The shape of every value for one sample; None where it cannot be known.

    Open sizes of the inputs become: batch 1, image sides as the model's overrides say or 224, lengths 16. Sizes that
    depend on computed numbers are found by one trial run on zeros.
    """
    symbols: dict[str, int] = {}
    inputs = {value.name: _input_shape(model, value, symbols) for value in model.inputs}
    shapes: Sizes = {}
    for name, value in model.values.items():
        shapes[name] = inputs.get(name) or _substituted(value, symbols)
    if None in shapes.values() and inputs:
        _infer(model, inputs, symbols, shapes)
    if None in shapes.values():
        _run(model, inputs, shapes)
    return shapes


def _input_shape(model: Model, value: Value, symbols: dict[str, int]) -> tuple[int, ...] | None:
    if value.shape is None:
        return None
    sides = _sides(model, value)
    dims = []
    for axis, dim in enumerate(value.shape):
        usual = sides.get(axis, 1 if axis == 0 else _LENGTH)
        dims.append(dim if isinstance(dim, int) else usual if dim is None else symbols.setdefault(dim, usual))
    return tuple(dims)


def _sides(model: Model, value: Value) -> dict[int, int]:
    source = spatial_input(model)
    if source is None or source[0] != value.name:
        return {}
    given = model.overrides.get("size")
    sides = (given, given) if isinstance(given, int) else tuple(given or ())
    axes = source[1]
    return dict(zip(axes, sides if len(sides) == len(axes) else [_SIDE] * len(axes), strict=True))


def _substituted(value: Value, symbols: dict[str, int]) -> tuple[int, ...] | None:
    if value.shape is None:
        return None
    dims = [symbols.get(d) if isinstance(d, str) else d for d in value.shape]
    known = tuple(d for d in dims if d is not None)
    return known if len(known) == len(dims) else None


def _infer(model: Model, inputs: dict[str, tuple[int, ...] | None], symbols: dict[str, int], shapes: Sizes) -> None:
    """Complete `shapes` by an inference with the sizes of the inputs put in."""
    graph = copied(model.graph)
    for info in (*graph.value_info, *graph.output):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
    for info in graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, inputs.get(info.name) or (), strict=False):
            dim.dim_value = size
    for name, value in model.with_graph(graph).values.items():
        if shapes.get(name) is None:
            shapes[name] = _substituted(value, {})


def _run(model: Model, inputs: dict[str, tuple[int, ...] | None], shapes: Sizes) -> None:
    """Complete `shapes` by one run on zeros."""
    unknown = [name for name, shape in shapes.items() if shape is None and model.values[name].dtype is not None]
    feeds = {}
    for value in model.inputs:
        shape = inputs[value.name]
        if shape is None or value.dtype is None or math.prod(shape) * value.dtype.itemsize > _MOST_BYTES:
            return
        word = category(model.graph.node, value.name) if value.dtype.kind == "O" else ""
        feeds[value.name] = np.full(shape, word, object) if value.dtype.kind == "O" else np.zeros(shape, value.dtype)
    if not unknown:
        return
    try:
        exposed = expose(model, unknown, only=True)
        got = trial_run(exposed.proto, exposed.folder, {v.name: feeds[v.name] for v in exposed.inputs})
    except (ModelError, ShapeError):
        return  # it does not run on zeros, or not at these sizes: those shapes stay unknown
    shapes.update((name, tuple(array.shape)) for name, array in got.items())
