"""How many rows run at once on a device with memory of its own: planned by what is free there and what a row takes."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from ..caches import of_model
from ..graph.model import Model
from ..runtime.device_memory import free_bytes
from ..runtime.providers import Provider

# So much of what is free is planned for: workspaces of convolutions and other sessions take some as well.
_SHARE = 0.5
# Values whose size is not known, at most, of all: theirs is taken for that of the others.
_UNKNOWN = 0.25
# More rows gained nothing where it was measured (docs/gpu.md).
_MOST = 64


def rows_planned(usual: int, count: int, fits: int | None) -> int:
    """Rows at once of `count`, where `fits` fit into memory, None for not known, and `usual` are taken elsewhere.

    The usual number, doubled as long as that many fit and are there, halved where it does not fit. Steps of two: a run
    of another size is planned anew by cuDNN.
    """
    if fits is None:
        return usual
    rows = usual
    while rows * 2 <= min(_MOST, count, fits):
        rows *= 2
    while rows > max(1, fits):
        rows //= 2
    return rows


@of_model
def _known(model: Model) -> dict[Hashable, int | None]:
    return {}


def rows_that_fit(model: Model, provider: Provider) -> int | None:
    """How many rows fit into what is free on the device when this is first asked for a model; None where not known."""
    known = _known(model)
    if provider not in known:
        free, each = free_bytes(provider), row_bytes(model)
        known[provider] = None if free is None or not each else max(1, int(free * _SHARE / each))
    return known[provider]


@of_model
def row_bytes(model: Model) -> int | None:
    """Bytes of all values that a row makes, as if none took the place of another; None where most sizes are unknown."""
    made = [model.values[o] for node in model.graph.node for o in node.output if o]
    sizes = [_bytes(value.shape, value.dtype) for value in made]
    known = [size for size in sizes if size is not None]
    if not known or len(known) < (1 - _UNKNOWN) * len(sizes):
        return None
    return int(sum(known) * len(sizes) / len(known))


def _bytes(shape: Any, dtype: Any) -> int | None:
    """Of one row: the axis of the batch counts once."""
    if shape is None or dtype is None:
        return None
    sides = shape[1:]
    if not all(isinstance(side, int) for side in sides):
        return None
    return int(math.prod(sides) * dtype.itemsize)
