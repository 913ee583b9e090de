"""Receptive fields: which interval of the input an element of a layer can depend on, exactly, padding included.

Per axis, the element at position p of a value depends at most on the input positions p * stride + low ... p * stride +
high (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019). Where values
join, the interval is the union; where an operator mixes all positions (global pooling, attention, a dense layer,
squeeze-and-excite) or changes the grid by more than a stride (upsampling), there is no such interval, and the field is
not defined from there on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from onnx import NodeProto

from ..graph.model import Model
from ..proto.arguments import Unreadable, axes_of, pads_of, permutation_of, slice_of
from ..proto.attributes import attributes, axis_of, window
from ..proto.nodes import plain_domain, reads
from ..proto.operators import CONVOLUTIONS, MICROSOFT, POINTWISE, POINTWISE_WITH_CHANNELS, weight_of
from ..proto.values import Shape


@dataclass(frozen=True)
class AxisReach:
    """Of one axis: which input axis it walks along, in which steps, and how far it sees to both sides."""

    axis: int
    stride: int
    low: int
    high: int

    def __or__(self, other: AxisReach) -> AxisReach:
        return AxisReach(self.axis, self.stride, min(self.low, other.low), max(self.high, other.high))

    def through(self, kernel: int, stride: int, dilation: int, before: int) -> AxisReach:
        """After a sliding window over this axis."""
        low = self.low - self.stride * before
        high = self.high + self.stride * ((kernel - 1) * dilation - before)
        return AxisReach(self.axis, self.stride * stride, low, high)


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


class _Whole(Exception):
    """The value depends on the input without locality."""


Sizes: TypeAlias = Mapping[str, "tuple[int, ...] | None"]


def receptive_fields(
    model: Model, source: str, axes: tuple[int, ...], sizes: Sizes | None = None
) -> dict[str, ReceptiveField | None]:
    """For every value that depends on the input `source`: its field along the spatial `axes`, None if undefined.

    `sizes` are shapes in numbers (`concrete.concrete_shapes`), where those of the model are open.
    """
    tracer = _Tracer(model, sizes or {})
    traces: dict[str, Local | None] = {source: {axis: AxisReach(axis, 1, 0, 0) for axis in axes}}
    for node in model.graph.node:
        if not any(name in traces for name in reads(node)):
            continue
        trace = tracer.step(node, traces)
        traces.update((name, trace) for name in node.output if name)
    return {name: None if trace is None else _field(trace, axes) for name, trace in traces.items()}


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


_POOLS = frozenset("MaxPool AveragePool LpPool QLinearAveragePool NhwcMaxPool".split())
_REDUCTIONS = frozenset(
    """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare ArgMax ArgMin""".split()
)


class _Tracer:
    """How one node moves what is known of its inputs' axes."""

    def __init__(self, model: Model, sizes: Sizes) -> None:
        self.model, self.sizes = model, sizes

    def shape(self, name: str) -> Shape:
        """In numbers, as far as known. Raises _Whole where not even the rank is."""
        found = self.sizes.get(name) or self.model.values[name].shape
        if found is None:
            raise _Whole
        return found

    def rank(self, name: str) -> int:
        return len(self.shape(name))

    def step(self, node: NodeProto, traces: Mapping[str, Local | None]) -> Local | None:
        """The trace of the node's outputs."""
        given = [name for name in node.input if name in traces]
        captured = any(name in traces and name not in node.input for name in reads(node))
        if captured or plain_domain(node.domain) not in ("", MICROSOFT):
            return None
        if any(traces[name] is None for name in given):
            return None
        known = {name: trace for name in given if (trace := traces[name]) is not None}
        try:
            trace = self._move(node, known)
            rank = min((self.rank(name) for name in node.output if name), default=0)
        except (_Whole, Unreadable):
            return None
        return trace if all(axis < rank for axis in trace) else None  # else the model contradicts itself

    def _move(self, node: NodeProto, known: dict[str, Local]) -> Local:
        op = node.op_type
        where = plain_domain(node.domain), op
        if where in POINTWISE or where in POINTWISE_WITH_CHANNELS or op == "LRN":
            return self._union(node, known)
        if op in ("Concat", "QLinearConcat"):
            axis = axis_of(node, attributes(node).get("axis", 0), self.rank(node.output[0]))
            if any(axis in trace for trace in known.values()):
                raise _Whole
            return self._union(node, known)
        if op in ("FusedConv", "NhwcFusedConv") and len(node.input) > 3 and node.input[3] in known:
            return self._fused(node, known)
        if op == "MatMul":
            return self._product(node, known)
        rule = _RULES.get(op)
        if rule is None or set(known) != {node.input[0]}:
            raise _Whole  # it mixes positions, or its arguments depend on the input
        return rule(self, node, known[node.input[0]])

    def _union(self, node: NodeProto, known: dict[str, Local]) -> Local:
        """Axes are aligned from the right, as broadcasting does."""
        out = self.shape(node.output[0])
        merged: Local = {}
        for name, trace in known.items():
            shape = self.shape(name)
            for axis, reach in trace.items():
                place = axis + len(out) - len(shape)
                if shape[axis] == 1 and out[place] != 1:
                    raise _Whole  # one position is spread over all
                before = merged.get(place)
                if before is not None and (before.stride, before.axis) != (reach.stride, reach.axis):
                    raise _Whole
                merged[place] = reach if before is None else before | reach
        return merged

    def _fused(self, node: NodeProto, known: dict[str, Local]) -> Local:
        """act(Conv(X) + Z)."""
        added = known[node.input[3]]
        if node.input[0] not in known:
            return added
        main = self._window(node, known[node.input[0]])
        if {a: (r.axis, r.stride) for a, r in main.items()} != {a: (r.axis, r.stride) for a, r in added.items()}:
            raise _Whole
        return {axis: reach | added[axis] for axis, reach in main.items()}

    def _product(self, node: NodeProto, known: dict[str, Local]) -> Local:
        """Positions are rows of the left factor, as in a dense layer over the channels of NHWC."""
        left, right = node.input[:2]
        rank = self.rank(left)
        if set(known) != {left} or self.rank(right) > rank or rank - 1 in known[left]:
            raise _Whole
        return known[left]

    def _window(self, node: NodeProto, trace: Local) -> Local:
        given = attributes(node)
        shape = self.shape(node.input[0])
        last = node.op_type == "NhwcMaxPool" or bool(given.get("channels_last"))
        start = 1 if last else 2
        spatial = list(range(start, len(shape) - 1 if last else len(shape)))
        if any(axis not in spatial for axis in trace):
            raise _Whole
        kernel = given.get("kernel_shape")
        if kernel is None:
            kernel = self.shape(weight_of(node))[2:]
        sizes = [d if isinstance(d := shape[axis], int) else None for axis in spatial]
        numbers = [int(k) for k in kernel if isinstance(k, int)]
        if len(numbers) < len(kernel):
            raise _Whole
        steps = window(node, sizes, numbers)
        return {axis: reach.through(*steps[axis - start]) for axis, reach in trace.items()}

    def _transpose(self, node: NodeProto, trace: Local) -> Local:
        order = permutation_of(node, self.rank(node.input[0]))
        return {order.index(axis): reach for axis, reach in trace.items()}

    def _along(self, node: NodeProto, trace: Local) -> Local:
        """Split, softmax, cumulative sum: local unless it works along a traced axis."""
        rank = self.rank(node.input[0])
        given = attributes(node)
        softmax = node.op_type in ("Softmax", "LogSoftmax", "Hardmax")
        old = softmax and self.model.opset < 13
        default = {"Split": 0, "TopK": -1}.get(node.op_type, 1 if old else -1)
        if node.op_type == "CumSum":
            default = int((self._constant(node, 1) or [0])[0])
        axis = axis_of(node, given.get("axis", default), rank)
        # Before opset 13, and for LayerNormalization, all axes from this one on are worked along.
        onward = old or node.op_type in ("LayerNormalization", "RMSNormalization")
        if any(a == axis or (onward and a > axis) for a in trace):
            raise _Whole
        return trace

    def _constant(self, node: NodeProto, at: int) -> list[Any]:
        """The argument as a flat list. Raises _Whole where it is not constant."""
        array = self.model.constant(node.input[at]) if len(node.input) > at and node.input[at] else None
        if array is None:
            raise _Whole
        flat: list[Any] = array.reshape(-1).tolist()
        return flat

    def _pad(self, node: NodeProto, trace: Local) -> Local:
        pads = pads_of(node, self.rank(node.input[0]), self.model.constant)
        if attributes(node).get("mode", "constant") != "constant" and any(any(pads[a]) for a in trace):
            raise _Whole  # reflections and wrapped borders depend on pixels elsewhere
        moved = {}
        for axis, reach in trace.items():
            shift = reach.stride * pads[axis][0]
            moved[axis] = AxisReach(reach.axis, reach.stride, reach.low - shift, reach.high - shift)
        return moved

    def _rerank(self, node: NodeProto, trace: Local) -> Local:
        axes = axes_of(node, self.model.constant)
        rank = self.rank(node.input[0])
        if axes is None:
            raise _Whole
        if node.op_type == "Squeeze":
            gone = [axis_of(node, a, rank) for a in axes]
            if any(a in trace for a in gone):
                raise _Whole
            return {a - sum(g < a for g in gone): reach for a, reach in trace.items()}
        total = rank + len(axes)
        new = {axis_of(node, a, total) for a in axes}
        places = [a for a in range(total) if a not in new]
        return {places[a]: reach for a, reach in trace.items()}

    def _slice(self, node: NodeProto, trace: Local) -> Local:
        shape = self.shape(node.input[0])
        moved = dict(trace)
        for axis, start, _, step in slice_of(node, len(shape), self.model.constant, ends=False):
            if axis not in trace:
                continue
            size = shape[axis]
            if step < 1 or (start < 0 and not isinstance(size, int)):
                raise _Whole
            first = max(start + size, 0) if start < 0 and isinstance(size, int) else start
            reach = trace[axis]
            shift = reach.stride * first
            moved[axis] = AxisReach(reach.axis, reach.stride * step, reach.low + shift, reach.high + shift)
        return moved

    def _reduce(self, node: NodeProto, trace: Local) -> Local:
        given = attributes(node)
        rank = self.rank(node.input[0])
        axes = axes_of(node, self.model.constant)
        if not axes and given.get("noop_with_empty_axes", 0):
            return trace
        gone = [axis_of(node, a, rank) for a in axes or range(rank)]
        if any(a in trace for a in gone):
            raise _Whole
        if given.get("keepdims", 1):
            return trace
        return {a - sum(g < a for g in gone): reach for a, reach in trace.items()}

    def _gather(self, node: NodeProto, trace: Local) -> Local:
        axis = axis_of(node, attributes(node).get("axis", 0), self.rank(node.input[0]))
        if axis in trace:
            raise _Whole
        added = self.rank(node.input[1]) - 1
        return {a + (added if a > axis else 0): reach for a, reach in trace.items()}

    def _reshape(self, node: NodeProto, trace: Local) -> Local:
        places = reshaped(self.shape(node.input[0]), self.shape(node.output[0]), sorted(trace))
        if places is None:
            raise _Whole
        return {places[axis]: reach for axis, reach in trace.items()}

    def _space_to_depth(self, node: NodeProto, trace: Local) -> Local:
        block = int(attributes(node).get("blocksize", 1))
        if block < 1 or any(axis < 2 for axis in trace):
            raise _Whole
        return {axis: reach.through(block, block, 1, 0) for axis, reach in trace.items()}


_RULES: dict[str, Callable[[_Tracer, NodeProto, Local], Local]] = {
    **dict.fromkeys((*CONVOLUTIONS, *_POOLS), _Tracer._window),
    **dict.fromkeys(
        """Softmax LogSoftmax Hardmax QLinearSoftmax LpNormalization LayerNormalization RMSNormalization Split TopK
        CumSum""".split(),
        _Tracer._along,
    ),
    **dict.fromkeys(_REDUCTIONS, _Tracer._reduce),
    **dict.fromkeys(("Unsqueeze", "Squeeze"), _Tracer._rerank),
    **dict.fromkeys(("Reshape", "Flatten"), _Tracer._reshape),
    "Transpose": _Tracer._transpose,
    "Pad": _Tracer._pad,
    "Slice": _Tracer._slice,
    "Gather": _Tracer._gather,
    "SpaceToDepth": _Tracer._space_to_depth,
}


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


def spatial_axes(
    model: Model, source: str, axes: tuple[int, ...], sizes: Sizes | None = None
) -> dict[str, tuple[int, ...]]:
    """For every value that still has the input's spatial axes: where they lie in it, in the order of `axes`.

    Unlike a receptive field, this survives operators that mix positions and give a map back (squeeze-and-excite).
    """
    tracer = _Tracer(model, sizes or {})
    places: dict[str, tuple[int, ...]] = {source: axes}
    for node in model.graph.node:
        found = [(name, places[name]) for name in node.input if name in places]
        if not found or not node.output:
            continue
        try:
            moved = _move_axes(tracer, node, found)
        except (_Whole, Unreadable):
            continue
        if moved is not None:
            places.update((name, moved) for name in node.output if name)
    return places


def _move_axes(tracer: _Tracer, node: NodeProto, found: list[tuple[str, tuple[int, ...]]]) -> tuple[int, ...] | None:
    name, axes = found[0]
    rank = tracer.rank(node.output[0])
    if node.op_type == "Transpose":
        order = permutation_of(node, tracer.rank(name))
        return tuple(order.index(a) for a in axes)
    if node.op_type in ("Squeeze", "Unsqueeze", "Gather") and plain_domain(node.domain) == "":
        if name != node.input[0]:
            return None
        trace = {axis: AxisReach(axis, 1, 0, 0) for axis in axes}
        move = _Tracer._gather if node.op_type == "Gather" else _Tracer._rerank
        back = {reach.axis: place for place, reach in move(tracer, node, trace).items()}
        return tuple(back[axis] for axis in axes)
    # Of several inputs (x * gate), the one that has as many axes carries the map.
    for other, places in found:
        if tracer.rank(other) == rank:
            name, axes = other, places
            break
    before, after = tracer.shape(name), tracer.shape(node.output[0])
    if node.op_type in ("Reshape", "Flatten"):
        moved = reshaped(before, after, axes)
        return None if moved is None else tuple(moved[a] for a in axes)
    if len(before) != rank:
        return None
    if node.op_type in ("MatMul", "Gemm", "Einsum"):
        return axes if all(before[a] == after[a] and isinstance(after[a], int) for a in axes) else None
    return axes
