"""Operators that move positions and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...proto.arguments import axes_of, pads_of, permutation_of, slice_of
from ...proto.attributes import axis_of
from ...proto.values import Shape
from .reach import Reach
from .rules import Axes, Link, Links, LocalNode, Mixing, renumbered, rule, without


@rule("Transpose")
def transpose(node: LocalNode, axes: Axes) -> Links:
    order = permutation_of(node.node, node.rank)
    return renumbered({axis: order.index(axis) for axis in axes})


@rule("Pad")
def pad(node: LocalNode, axes: Axes) -> Links:
    pads = pads_of(node.node, node.rank, node.model.constant)
    if node.given.get("mode", "constant") != "constant" and any(any(pads[axis]) for axis in axes):
        raise Mixing  # reflections and wrapped borders depend on pixels elsewhere
    return {axis: Link(axis, Reach(1, 1, -pads[axis][0], -pads[axis][0])) for axis in axes}


@rule("Slice")
def slice_(node: LocalNode, axes: Axes) -> Links:
    found = {axis: Link(axis) for axis in axes}
    for axis, start, _, step in slice_of(node.node, node.rank, node.model.constant, ends=False):
        if axis in axes:
            first = _first(start, node.before[axis])
            if step < 1:
                raise Mixing
            found[axis] = Link(axis, Reach(step, 1, first, first))
    return found


def _first(start: int, size: int | str | None) -> int:
    """The start of a slice from the front."""
    if isinstance(size, int):
        return min(max(start + size, 0) if start < 0 else start, size)
    if start < 0:
        raise Mixing
    return start


@rule("Squeeze Unsqueeze")
def rerank(node: LocalNode, axes: Axes) -> Links:
    chosen = axes_of(node.node, node.model.constant)
    if chosen is None:
        raise Mixing
    if node.op == "Squeeze":
        gone = [axis_of(node.node, axis, node.rank) for axis in chosen]
        return without(axes, gone)
    rank = node.rank + len(chosen)
    new = {axis_of(node.node, axis, rank) for axis in chosen}
    places = [axis for axis in range(rank) if axis not in new]
    return renumbered({axis: places[axis] for axis in axes})


@rule("Gather")
def gather(node: LocalNode, axes: Axes) -> Links:
    chosen = node.axis(0)
    if chosen in axes:
        raise Mixing
    added = len(node.shape(node.inputs[1])) - 1
    return renumbered({axis: axis + (added if axis > chosen else 0) for axis in axes})


@rule("Reshape Flatten")
def reshape(node: LocalNode, axes: Axes) -> Links:
    places = reshaped(node.before, node.after, sorted(axes))
    if places is None:
        raise Mixing
    return renumbered(places)


def reshaped(before: Shape, after: Shape, axes: Sequence[int]) -> dict[int, int] | None:
    """Where each of `axes` lies after a reshape in row-major order; None where one is merged or cut up."""
    places = {}
    for axis in axes:
        behind = before[axis + 1 :]
        if not all(isinstance(d, int) for d in behind):
            return None
        count = math.prod(d for d in behind if isinstance(d, int))
        place, product = len(after) - 1, 1
        while place >= 0 and product < count:
            dim = after[place]
            if not isinstance(dim, int):
                return None
            product *= dim
            place -= 1
        # Axes of size 1 in between change nothing; the one with the same size is meant.
        while place >= 0 and after[place] == 1 and before[axis] != 1:
            place -= 1
        if place < 0 or product != count or after[place] != before[axis]:
            return None
        places[axis] = place
    return places if len(set(places.values())) == len(places) else None
