"""Units of a layer and single elements of a value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from ..graph.model import Model
from ..inspect.blocked_layout import BLOCKED, blocked_values
from ..inspect.layers import value_of


def unit_axes(model: Model, layer: str) -> tuple[str, int, tuple[int, ...]]:
    """The value of a layer, its channel axis and the axes of places, in rows (N, ...)."""
    name = value_of(model, layer)
    rank = model.value(name).rank
    if name in blocked_values(model):
        raise TargetError(f"the layer {layer!r} has no units to name: {BLOCKED}")
    found = next((entry for entry in model.layers if entry.output == name), None)
    axes = found.map_axes if found is not None else None
    if rank is None and axes is None:
        raise TargetError(f"the shape of {layer!r} is not known: choose a layer next to it")
    if axes and rank is not None:
        rest = [a for a in range(1, rank) if a not in axes]
        if len(rest) == 1 and 0 not in axes:
            return name, rest[0], tuple(axes)
    if rank is None or rank < 2:
        raise TargetError(f"the value {name!r} has no channels: choose the output of a layer")
    channel = rank - 1 if rank == 3 else 1
    return name, channel, tuple(a for a in range(1, rank) if a != channel)


def element_places(y: NDArray[Any], index: tuple[int | str, ...], text: str) -> NDArray[np.float32]:
    """The cotangent (N, 1, ...) of one element per sample of y: (N, ...)."""
    shape = y.shape[1:]
    if len(index) == y.ndim and len(y) == 1 and index[0] in (0, -1, "max", "mean"):
        index = index[1:]  # a value without a batch axis that happens to have one place, as a list of one box
    if len(index) != len(shape):
        raise TargetError(
            f"the target {text} names {len(index)} axes, the value has {len(shape)} after the batch: {list(shape)}"
        )
    for axis, entry in enumerate(index):
        if isinstance(entry, int) and not -shape[axis] <= entry < shape[axis]:
            raise TargetError(
                f"the target {text} is out of range: axis {axis + 1} of the value has 0 to {shape[axis] - 1}"
            )
    result = np.zeros((len(y), 1, *shape), np.float32)
    slices = tuple(entry if isinstance(entry, int) else slice(None) for entry in index)
    free = [entry for entry in index if isinstance(entry, str)]
    for row, out in zip(y, result, strict=True):
        values = row[slices].astype(np.float64)
        means = tuple(i for i, entry in enumerate(free) if entry == "mean")
        averaged = values.mean(axis=means, keepdims=True) if means else values
        best = np.unravel_index(int(np.argmax(averaged)), averaged.shape) if averaged.ndim else ()
        chosen = tuple(slice(None) if i in means else int(b) for i, b in enumerate(best))
        share = np.zeros(values.shape, np.float32)
        share[chosen] = 1 / math.prod(values.shape[i] for i in means)
        out[0, ...][slices] = share
    return result
