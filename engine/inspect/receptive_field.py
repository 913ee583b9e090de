"""Receptive fields: which interval of the input an element of a layer can depend on, exactly, padding included.

Per axis, the element at position p of a value depends at most on the input positions p * stride + low ... p * stride +
high (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019). Where values
join, the interval is the union; where an operator mixes all positions (global pooling, attention, a dense layer,
squeeze-and-excite) or changes the grid by more than a stride (upsampling), there is no such interval, and the field is
not defined from there on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from onnx import NodeProto

from ..graph.model import Model
from ..proto.arguments import Unreadable
from ..proto.nodes import reads
from .locality.rules import Axes, Link, Links, LocalNode, Mixing, Sizes
from .locality.table import links


@dataclass(frozen=True)
class AxisReach:
    """Of one axis: which input axis it walks along, in which steps, and how far it sees to both sides."""

    axis: int
    stride: int
    low: int
    high: int

    def __or__(self, other: AxisReach) -> AxisReach:
        return AxisReach(self.axis, self.stride, min(self.low, other.low), max(self.high, other.high))

    def through(self, link: Link) -> AxisReach:
        """After an operator that reads this axis so. Raises Mixing if that is no stride."""
        if not link.exact:
            raise Mixing
        low, high = (self.stride * end for end in (link.reach.low, link.reach.high))
        return AxisReach(self.axis, self.stride * link.reach.num, self.low + low, self.high + high)


@dataclass(frozen=True)
class ReceptiveField:
    """Sizes, strides and offsets in input pixels, one number per spatial axis.

    The element at position p sees `size` pixels centred on p * stride + offset (pixel centres at whole numbers).
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: tuple[float, ...]

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter((self.size, self.stride, self.offset))


# Axis of the value -> Reach; the axes that are missing do not walk along the input.
Local: TypeAlias = dict[int, AxisReach]


def receptive_fields(
    model: Model, source: str, axes: tuple[int, ...], sizes: Sizes | None = None
) -> dict[str, ReceptiveField | None]:
    """For every value that depends on the input `source`: its field along the spatial `axes`, None if undefined.

    `sizes` are shapes in numbers (`concrete_shapes.concrete_shapes`), where those of the model are open.
    """
    traces: dict[str, Local | None] = {source: {axis: AxisReach(axis, 1, 0, 0) for axis in axes}}
    for node in model.graph.node:
        if not any(name in traces for name in reads(node)):
            continue
        trace = _step(model, node, traces, sizes or {})
        traces.update((name, trace) for name in node.output if name)
    return {name: None if trace is None else _field(trace, axes) for name, trace in traces.items()}


def _step(model: Model, node: NodeProto, traces: Mapping[str, Local | None], sizes: Sizes) -> Local | None:
    """The trace of the node's outputs."""
    known: dict[str, Local] = {}
    for name in reads(node):
        if name in traces:
            trace = traces[name]
            if trace is None:
                return None
            known[name] = trace
    try:
        followed = {name: tuple(trace) for name, trace in known.items()}
        return _joined(links(LocalNode(model, node, followed, sizes)), known)
    except (Mixing, Unreadable):
        return None


def _joined(moved: Mapping[str, Links], known: Mapping[str, Local]) -> Local:
    """The union of what is read through every input. Raises Mixing where they walk in different steps."""
    merged: Local = {}
    for name, by_axis in moved.items():
        for place, link in by_axis.items():
            reach = known[name][link.axis].through(link)
            before = merged.setdefault(place, reach)
            if (before.stride, before.axis) != (reach.stride, reach.axis):
                raise Mixing
            merged[place] = before | reach
    return merged


def _field(trace: Local, axes: tuple[int, ...]) -> ReceptiveField | None:
    by_axis = {reach.axis: reach for reach in trace.values()}
    if set(by_axis) != set(axes):
        return None
    ordered = [by_axis[axis] for axis in axes]
    return ReceptiveField(
        tuple(r.high - r.low + 1 for r in ordered),
        tuple(r.stride for r in ordered),
        tuple((r.high + r.low) / 2 for r in ordered),
    )


def spatial_axes(
    model: Model, source: str, axes: tuple[int, ...], sizes: Sizes | None = None
) -> dict[str, tuple[int, ...]]:
    """For every value that still has the input's spatial axes: where they lie in it, in the order of `axes`.

    Unlike a receptive field, this survives operators that mix positions and give a map back (squeeze-and-excite).
    """
    places: dict[str, Axes] = {source: axes}
    for node in model.graph.node:
        found = {name: places[name] for name in node.input if name in places}
        if not found or not node.output:
            continue
        try:
            moved = _moved_axes(LocalNode(model, node, found, sizes or {}))
        except (Mixing, Unreadable):
            continue
        if moved is not None:
            places.update((name, moved) for name in node.output if name and _has_axes(model, sizes or {}, name, moved))
    return places


def _has_axes(model: Model, sizes: Sizes, name: str, axes: Axes) -> bool:
    """Whether the value has that many axes: not every output of a node is a map (DynamicQuantizeLinear's scale)."""
    shape = sizes.get(name) or model.values[name].shape
    return shape is not None and max(axes) < len(shape)


# They move axes by their arguments; other operators keep them in their places.
_MOVES = frozenset("Transpose Squeeze Unsqueeze Gather Reshape Flatten".split())


def _moved_axes(node: LocalNode) -> Axes | None:
    if node.op in _MOVES:
        (by_axis,) = links(node).values()
        places = {link.axis: place for place, link in by_axis.items()}
        return tuple(places[axis] for axis in node.followed[node.inputs[0]])
    # Of several inputs (x * gate), the one that has as many axes as the output carries the map.
    after = node.after
    for name, axes in node.followed.items():
        before = node.shape(name)
        if len(before) == len(after):
            if node.op in ("MatMul", "Gemm", "Einsum"):
                return axes if all(before[a] == after[a] and isinstance(after[a], int) for a in axes) else None
            return axes
    return None
