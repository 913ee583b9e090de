"""Arguments of standard operators, in whatever form the opset has them: as attributes, or as constant inputs.

    Slice      starts, ends, axes: attributes before opset 10, inputs since, with steps
    Pad        pads: an attribute before opset 11, an input since; axes since opset 18
    Squeeze, Unsqueeze, Reduce*    axes: an attribute before opset 13 (ReduceSum) or 18, an input since

Every function takes `constant`, which gives the array behind a value's name, None where it is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from onnx import NodeProto

from ..errors import ModelError
from .attributes import attributes, axis_of
from .nodes import label

Constant: TypeAlias = "Callable[[str], np.ndarray | None]"


class Unreadable(Exception):
    """An argument is computed, or the arguments do not fit each other; caught by whoever asks."""


class Cut(NamedTuple):
    """What a Slice takes of one axis, counted from the front; numbers as the model has them.

    end: 0 where it was not asked for.
    """

    axis: int
    start: int
    end: int
    step: int


def numbers_of(node: NodeProto, attribute: str | None, place: int, constant: Constant) -> list[Any] | None:
    """An argument as a flat list: the attribute, else the input number `place`; None where both are left out.

    Raises Unreadable where it is computed.
    """
    given = attributes(node).get(attribute) if attribute else None
    if given is not None:
        return list(given)
    name = node.input[place] if place < len(node.input) else ""
    if not name:
        return None
    array = constant(name)
    if array is None:
        raise Unreadable(f"its argument {name!r} is not constant")
    flat: list[Any] = array.reshape(-1).tolist()
    return flat


def slice_of(node: NodeProto, rank: int, constant: Constant, ends: bool = True) -> list[Cut]:
    """The cuts of a Slice of a value of that rank. ends: False if they do not matter: then they may be computed.

    Raises Unreadable, and ModelError for an axis that does not exist.
    """
    starts = _needed(node, "starts", 1, constant)
    stops = _needed(node, "ends", 2, constant) if ends else [0] * len(starts)
    axes = numbers_of(node, "axes", 3, constant)
    steps = numbers_of(node, None, 4, constant)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if len({len(starts), len(stops), len(axes), len(steps)}) > 1:
        raise Unreadable("its arguments do not fit each other")
    if 0 in steps:
        raise Unreadable("one of its steps is 0")
    places = [axis_of(node, int(axis), rank) for axis in axes]
    return [Cut(*(int(v) for v in cut)) for cut in zip(places, starts, stops, steps, strict=True)]


def pads_of(node: NodeProto, rank: int, constant: Constant) -> list[tuple[int, int]]:
    """(before, after) for every axis of what a Pad pads, negative where it crops.

    Raises Unreadable, and ModelError for an axis that does not exist.
    """
    pads = _needed(node, "pads", 1, constant)
    axes = numbers_of(node, None, 3, constant)
    places = list(range(rank)) if axes is None else [axis_of(node, int(axis), rank) for axis in axes]
    if len(pads) != 2 * len(places):
        raise Unreadable("its arguments do not fit each other")
    result = [(0, 0)] * rank
    for i, axis in enumerate(places):
        result[axis] = int(pads[i]), int(pads[i + len(places)])
    return result


def axes_of(node: NodeProto, constant: Constant) -> list[int] | None:
    """The axes of a Squeeze, Unsqueeze or Reduce*, as the model has them; of ArgMax and ArgMin, the one.

    None where they are left out. Raises Unreadable.
    """
    if node.op_type in ("ArgMax", "ArgMin"):
        return [int(attributes(node).get("axis", 0))]
    axes = numbers_of(node, "axes", 1, constant)
    return None if axes is None else [int(axis) for axis in axes]


def permutation_of(node: NodeProto, rank: int) -> list[int]:
    """Of a Transpose: the input's axis for every axis of the output. Raises ModelError."""
    given = [int(a) for a in attributes(node).get("perm", range(rank)[::-1])]
    if sorted(given) != list(range(rank)):
        raise ModelError(f"node {label(node)} permutes {rank} axes by {given}: the model is damaged")
    return given


def _needed(node: NodeProto, attribute: str, place: int, constant: Constant) -> list[Any]:
    found = numbers_of(node, attribute, place, constant)
    if found is None:
        raise Unreadable(f"its argument {attribute!r} is missing")
    return found
