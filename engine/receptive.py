"""Receptive fields: which interval of the input an element of a layer can depend on, exactly, padding included.

Per axis, the element at position p of a value depends at most on the input positions p * stride + low ... p * stride + high
(Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019). Where values join, the
interval is the union; where an operator mixes all positions (global pooling, attention, a dense layer, squeeze-and-excite),
there is no such interval, and the field is not defined from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from onnx import NodeProto

from .attributes import attributes, window
from .graph import DOMAIN_NAMES, Model, Value


@dataclass(frozen=True)
class Reach:
    """Of one axis: which input axis it walks along, in which steps, and how far it sees to both sides."""

    axis: int
    stride: int
    low: int
    high: int

    def __or__(self, other: Reach) -> Reach:
        return Reach(self.axis, self.stride, min(self.low, other.low), max(self.high, other.high))

    def through(self, kernel: int, stride: int, dilation: int, before: int) -> Reach:
        """After a sliding window over this axis."""
        low = self.low - self.stride * before
        high = self.high + self.stride * ((kernel - 1) * dilation - before)
        return Reach(self.axis, self.stride * stride, low, high)


@dataclass(frozen=True)
class ReceptiveField:
    """Sizes, strides and offsets in input pixels, one number per spatial axis.

    The element at position p sees `size` pixels centred on p * stride + offset (pixel centres at whole numbers).
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: tuple[float, ...]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((self.size, self.stride, self.offset))


# A value's axes -> Reach. None: the value does not depend on the traced input; "whole": it does, without locality.
Trace: TypeAlias = "dict[int, Reach] | str | None"
WHOLE = "whole"

_LOCAL = frozenset(
    """Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitShift Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf
    Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not PRelu Reciprocal Relu Round Selu
    Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Add Sub Mul Div Pow Max Min Mean Sum Mod
    Where And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual QuantizeLinear DequantizeLinear LRN
    QLinearAdd QLinearMul QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QuickGelu FastGelu BiasGelu""".split()
)
_POOLS = frozenset("MaxPool AveragePool LpPool QLinearAveragePool NhwcMaxPool".split())
_CONVS = frozenset("Conv FusedConv ConvInteger QLinearConv".split())


def receptive_fields(model: Model, source: str, axes: tuple[int, ...]) -> dict[str, ReceptiveField | None]:
    """For every value that depends on the input `source`: its field along the input's spatial `axes`, None if undefined."""
    traces: dict[str, Trace] = {source: {axis: Reach(axis, 1, 0, 0) for axis in axes}}
    for node in model.graph.node:
        inputs = [traces.get(name) for name in node.input]
        if all(t is None for t in inputs):
            continue
        result = _step(model, node, inputs)
        for name in node.output:
            traces[name] = result
    fields: dict[str, ReceptiveField | None] = {}
    for name, trace in traces.items():
        if trace is None:
            continue
        fields[name] = _field(trace, axes)
    return fields


def spatial_axes(model: Model, source: str, axes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """For every value that still has the input's spatial axes: where they lie in it, in the order of `axes`.

    Unlike a receptive field, this survives operators that mix positions and give a map back (squeeze-and-excite).
    """
    places: dict[str, tuple[int, ...]] = {source: axes}
    for node in model.graph.node:
        found = [(name, places[name]) for name in node.input if name in places]
        if not found or not node.output:
            continue
        moved = _move_axes(model, node, found)
        if moved is not None:
            places.update((name, moved) for name in node.output if name)
    return places


def _move_axes(model: Model, node: NodeProto, found: list[tuple[str, tuple[int, ...]]]) -> tuple[int, ...] | None:
    name, axes = found[0]
    out = model.values[node.output[0]]
    if node.op_type == "Transpose":
        perm = attributes(node).get("perm") or list(range(len(model.values[name].shape or ())))[::-1]
        return tuple(list(perm).index(a) for a in axes) if max(axes) < len(perm) else None
    # Of several inputs (x * gate), the one that keeps its sizes carries the map.
    ranks = {out.rank}
    for other, places in found:
        if model.values[other].rank in ranks and (model.values[other].rank or 0) > max(places):
            name, axes = other, places
            break
    value = model.values[name]
    if value.rank != out.rank or value.shape is None or out.shape is None:
        return None
    if node.op_type in ("Reshape", "Flatten", "MatMul", "Gemm", "Einsum"):
        same = all(value.shape[a] == out.shape[a] and isinstance(out.shape[a], int) for a in axes)
        return axes if same else None
    return axes


def _field(trace: dict[int, Reach] | str, axes: tuple[int, ...]) -> ReceptiveField | None:
    if isinstance(trace, str):
        return None
    by_axis = {reach.axis: reach for reach in trace.values()}
    if set(by_axis) != set(axes):
        return None
    ordered = [by_axis[axis] for axis in axes]
    return ReceptiveField(
        tuple(r.high - r.low + 1 for r in ordered),
        tuple(r.stride for r in ordered),
        tuple((r.high + r.low) / 2 for r in ordered),
    )


def _step(model: Model, node: NodeProto, inputs: list[Trace]) -> Trace:
    """The trace of the node's outputs."""
    given = [t for t in inputs if t is not None]
    if any(isinstance(t, str) for t in given):
        return WHOLE
    traces = [t for t in given if isinstance(t, dict)]
    first = traces[0]
    value = model.values.get(node.input[0])
    rank = value.rank if value else None
    op = node.op_type
    if op in _LOCAL:
        return _union(model, node, inputs)
    if rank is None or value is None or node.domain not in (*DOMAIN_NAMES, "com.microsoft"):
        return WHOLE
    if op in _CONVS or op in _POOLS:
        return _windowed(model, node, first, rank, value)
    if op == "Transpose":
        perm = list(attributes(node).get("perm", range(rank)[::-1]))
        return {perm.index(axis): reach for axis, reach in first.items()}
    if op in ("Concat", "QLinearConcat"):
        axis = attributes(node).get("axis", 0) % rank
        return _union(model, node, inputs) if axis not in first else WHOLE
    if op == "Split":
        return first if attributes(node).get("axis", 0) % rank not in first else WHOLE
    if op in ("Softmax", "LogSoftmax", "Hardmax"):
        axis = attributes(node).get("axis", -1 if model.opset >= 13 else 1) % rank
        coerced = model.opset < 13 and any(a >= axis for a in first)
        return first if axis not in first and not coerced else WHOLE
    if op == "Pad":
        return _padded(model, node, first, rank)
    if op == "LayerNormalization":
        axis = attributes(node).get("axis", -1) % rank
        return first if all(a < axis for a in first) else WHOLE
    if op in ("Unsqueeze", "Squeeze"):
        return _reranked(model, node, first, rank)
    if op == "Slice":
        return _sliced(model, node, first, rank)
    if op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ArgMax"):
        axes = _axes(model, node, rank)
        if op == "ArgMax":
            axes = [attributes(node).get("axis", 0) % rank]
        keep = attributes(node).get("keepdims", 1)
        if axes is None or any(a in first for a in axes):
            return WHOLE
        return first if keep else {a - sum(r < a for r in axes): t for a, t in first.items()}
    return WHOLE


def _union(model: Model, node: NodeProto, inputs: list[Trace]) -> Trace:
    """Element-wise operators: axes are aligned from the right, as broadcasting does."""
    out = model.values[node.output[0]].rank
    merged: dict[int, Reach] = {}
    for name, trace in zip(node.input, inputs, strict=True):
        if not isinstance(trace, dict):
            continue
        rank = model.values[name].rank
        if rank is None or out is None:
            return WHOLE
        for axis, reach in trace.items():
            place = axis + out - rank
            known = merged.get(place)
            if known is not None and (known.stride, known.axis) != (reach.stride, reach.axis):
                return WHOLE
            merged[place] = reach if known is None else known | reach
    return merged


def _windowed(model: Model, node: NodeProto, trace: dict[int, Reach], rank: int, value: Value) -> Trace:
    given = attributes(node)
    last = node.op_type == "NhwcMaxPool" or given.get("channels_last")
    start = 1 if last else 2
    spatial = [a for a in range(start, rank - 1 if last else rank)]
    if any(a not in spatial for a in trace):
        return WHOLE
    kernel = given.get("kernel_shape")
    if kernel is None:
        weight = model.values[node.input[3 if node.op_type == "QLinearConv" else 1]]
        kernel = (weight.shape or ())[2:]
    if len(kernel) != len(spatial) or not all(isinstance(k, int) for k in kernel):
        return WHOLE
    shape = value.shape or ()
    sizes = tuple(d if isinstance(d := shape[a], int) else None for a in spatial)
    steps = window(node, sizes, list(kernel))
    return {a: trace[a].through(*steps[a - start]) for a in trace}


def _axes(model: Model, node: NodeProto, rank: int) -> list[int] | None:
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        constant = model.constant(node.input[1])
        if constant is None:
            return None
        axes = constant.tolist()
    return [a % rank for a in axes] if axes is not None else list(range(rank))


def _padded(model: Model, node: NodeProto, trace: dict[int, Reach], rank: int) -> Trace:
    given = attributes(node)
    pads = given.get("pads")
    if pads is None:
        constant = model.constant(node.input[1]) if len(node.input) > 1 else None
        if constant is None or (len(node.input) > 3 and node.input[3]):
            return WHOLE
        pads = constant.tolist()
    if given.get("mode", "constant") != "constant" and any(pads[a] or pads[a + rank] for a in trace):
        return WHOLE  # reflections and wrapped borders depend on pixels elsewhere
    return {a: Reach(r.axis, r.stride, r.low - r.stride * pads[a], r.high - r.stride * pads[a]) for a, r in trace.items()}


def _reranked(model: Model, node: NodeProto, trace: dict[int, Reach], rank: int) -> Trace:
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1:
        constant = model.constant(node.input[1])
        axes = None if constant is None else constant.tolist()
    if axes is None:
        return WHOLE
    if node.op_type == "Squeeze":
        gone = [a % rank for a in axes]
        if any(a in trace for a in gone):
            return WHOLE
        return {a - sum(g < a for g in gone): r for a, r in trace.items()}
    total = rank + len(axes)
    new = {a % total for a in axes}
    places = [a for a in range(total) if a not in new]
    return {places[a]: r for a, r in trace.items()}


def _sliced(model: Model, node: NodeProto, trace: dict[int, Reach], rank: int) -> Trace:
    given = attributes(node)
    if "starts" in given:
        starts, axes, steps = given["starts"], given.get("axes"), None
    else:
        parts = [model.constant(name) if name else None for name in node.input[1:]]
        parts += [None] * (4 - len(parts))
        if parts[0] is None:
            return WHOLE
        starts = parts[0].tolist()
        axes = None if parts[2] is None else parts[2].tolist()
        steps = None if parts[3] is None else parts[3].tolist()
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    shape = model.values[node.input[0]].shape or ()
    result = dict(trace)
    for start, axis, step in zip(starts, axes, steps, strict=True):
        place = axis % rank
        if place not in trace:
            continue
        size = shape[place]
        if start < 0 and not isinstance(size, int) or step < 1:
            return WHOLE
        first = start if start >= 0 or not isinstance(size, int) else start + size
        reach = trace[place]
        shift = reach.stride * first
        result[place] = Reach(reach.axis, reach.stride * step, reach.low + shift, reach.high + shift)
    return result
