"""Elements chosen by indices: the cotangent of a gather is a scatter, that of a scatter a gather."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .reduction import divide_or_zero
from .registry import Cotangents, gradient

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def scatter_add(op: Emitter, base: str, indices: str, updates: str, axis: int | None) -> str:
    """`base` with `updates` added at `indices`: ScatterElements along `axis`, ScatterND for None.

    In float32 for half types: ONNX Runtime's CPU provider has no half-precision scatter that adds.
    """
    elem = op.elem_type(base)
    if elem in _HALVES:
        base, updates = op.Cast(base, to=TensorProto.FLOAT), op.Cast(updates, to=TensorProto.FLOAT)
    if axis is None:
        result = op.ScatterND(base, int64(op, indices), updates, reduction="add")
    else:
        result = op.ScatterElements(base, indices, updates, axis=axis, reduction="add")
    return op.Cast(result, to=elem) if elem in _HALVES else result


def int64(op: Emitter, indices: str) -> str:
    return indices if op.elem_type(indices) == TensorProto.INT64 else op.Cast(indices, to=TensorProto.INT64)


def scatter_along(op: Emitter, dy: str, indices: str, shape: str, axis: int, unique: bool = False) -> str:
    """Zeros of `shape` (an int64 vector) with the slices of `dy` along `axis` added at `indices`.

    dy (pre..., i..., post...), indices (i...), result (pre..., n, post...). `unique`: no index comes twice.
    """
    count, rank = op.rank(indices), op.rank(dy)
    indices = int64(op, op.Unsqueeze(indices, [-1]))
    if axis:
        dy = op.Transpose(dy, perm=[*range(axis, axis + count), *range(axis), *range(axis + count, rank)])
        order = np.array([axis, *range(axis), *range(axis + 1, rank - count + 1)], np.int64)
        shape = op.Gather(shape, order)
    zeros = op.ConstantOfShape(shape, value=op.like_scalar(dy, 0))
    if unique:
        full = op.ScatterND(zeros, indices, dy)
    else:
        full = scatter_add(op, zeros, indices, dy, axis=None)
    if not axis:
        return full
    return op.Transpose(full, perm=[*range(1, axis + 1), 0, *range(axis + 1, rank - count + 1)])


def pad_axis(op: Emitter, dy: str, before: int, x: str, axis: int, length: int) -> str:
    """`dy` with zeros around it along `axis`, to the size of `x`; `before` < 0 counts from the end of `x`."""
    size = op.shape(x)[axis]
    if isinstance(size, int):
        before %= size
        pads = op.const(np.array([before, size - before - length], np.int64))
    elif before >= 0:
        pads = op.Concat([before], op.Sub(op.size_of(x, axis), [before + length]), axis=0)
    else:
        pads = op.Concat(op.Add(op.size_of(x, axis), [before]), [-before - length], axis=0)
    return op.Pad(dy, pads, None, [axis])


@gradient("Gather", inputs=(0,))
def gather(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, indices = node.inputs
    axis = node.attribute("axis", 0) % op.rank(x)
    constant = op.constant_value(indices)
    unique = False
    if constant is not None and constant.size and constant.ndim <= 1:
        flat = constant.reshape(-1)
        size = op.shape(x)[axis]
        if (np.diff(flat) == 1).all() and (flat[0] >= 0 or flat[-1] < 0):
            dy = op.Unsqueeze(dy, [axis]) if constant.ndim == 0 else dy
            return [pad_axis(op, dy, int(flat[0]), x, axis, flat.size)]
        if isinstance(size, int):
            unique = len(set((flat % size).tolist())) == flat.size
    return [scatter_along(op, dy, indices, op.shape_of(x), axis, unique)]


@gradient("GatherElements", inputs=(0,))
def gather_elements(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, indices = node.inputs
    return [scatter_add(op, op.zeros_like(x), indices, dy, node.attribute("axis", 0))]


@gradient("GatherND", inputs=(0,))
def gather_nd(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, indices = node.inputs
    batch = node.attribute("batch_dims", 0)
    if batch:
        # The batch axes become explicit indices in front of the given ones.
        outer = op.shape_of(indices, 0, op.rank(indices) - 1)
        columns = []
        for axis in range(batch):
            count = op.Range(0, op.Squeeze(op.size_of(indices, axis), [0]), 1)
            shape = [1] * op.rank(indices)
            shape[axis] = -1
            columns.append(op.Expand(op.Reshape(count, shape), op.Concat(outer, [1], axis=0)))
        indices = op.Concat(*columns, int64(op, indices), axis=-1)
    return [scatter_add(op, op.zeros_like(x), indices, dy, axis=None)]


@gradient("ScatterElements", inputs=(0, 2))
def scatter_elements(node: Node, dy: str, op: Emitter) -> Cotangents:
    axis = node.attribute("axis", 0)

    def take(value: str, indices: str) -> str:
        return op.GatherElements(value, indices, axis=axis)

    def put(base: str, indices: str, updates: str, reduction: str) -> str:
        if reduction == "add":
            return scatter_add(op, base, indices, updates, axis)
        return op.ScatterElements(base, indices, updates, axis=axis, reduction=reduction)

    return _scatter(node, dy, op, take, put)


@gradient("ScatterND", inputs=(0, 2))
def scatter_nd(node: Node, dy: str, op: Emitter) -> Cotangents:
    def take(value: str, indices: str) -> str:
        return op.GatherND(value, indices)

    def put(base: str, indices: str, updates: str, reduction: str) -> str:
        if reduction == "add":
            return scatter_add(op, base, indices, updates, axis=None)
        return op.ScatterND(base, indices, updates, reduction=reduction)

    return _scatter(node, dy, op, take, put)


_Take = Callable[[str, str], str]
_Put = Callable[[str, str, str, str], str]


def _scatter(node: Node, dy: str, op: Emitter, take: _Take, put: _Put) -> Cotangents:
    """The same for both scatters, given how they take from and put to a tensor.

    none, add   the cotangents move
    mul         that of a factor is dy times the product of the others; a zero factor is left out and counted
    max, min    dy is divided among all that equal the result
    """
    data, indices, updates = node.inputs
    y = node.outputs[0]
    reduction = node.attribute("reduction", "none")
    if reduction == "none":
        kept = put(dy, indices, op.zeros_like(updates), "none") if node.wants[0] else None
        return [kept, None, take(dy, indices) if node.wants[2] else None]
    if reduction == "add":
        return [dy, None, take(dy, indices) if node.wants[2] else None]
    if reduction == "mul":
        others = put(op.full_like(data, 1), indices, updates, "mul")
        ddata = op.Mul(dy, others) if node.wants[0] else None
        if not node.wants[2]:
            return [ddata]
        zero = op.Equal(updates, op.const(0, like=updates))
        flag = op.cast(zero, like=updates)
        filled = op.Where(zero, 1.0, updates)
        zeros = take(put(op.zeros_like(data), indices, flag, "add"), indices)
        product = take(op.Mul(dy, put(data, indices, filled, "mul")), indices)
        return [ddata, None, op.Where(op.Equal(zeros, flag), op.Div(product, filled), 0.0)]
    from_data = op.cast(op.Equal(data, y), like=data)
    from_updates = op.cast(op.Equal(updates, take(y, indices)), like=updates)
    share = divide_or_zero(op, dy, put(from_data, indices, from_updates, "add"))
    return [op.Mul(share, from_data), None, op.Mul(take(share, indices), from_updates)]


@gradient("TensorScatter", inputs=(0, 1))
def tensor_scatter(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The update overwrites the cache (batch, ..., length, ...) from a place of each sample's own on."""
    cache, update, first = node.inputs[0], node.inputs[1], node.input(2)
    given = {"axis": node.attribute("axis", -2), "mode": node.attribute("mode", "linear")}
    dcache = op.TensorScatter(dy, op.zeros_like(update), first, **given) if node.wants[0] else None
    if not node.wants[1]:
        return [dcache]
    rank = op.rank(cache)
    axis = given["axis"] % rank
    places = op.Unsqueeze(op.Range(0, op.Squeeze(op.size_of(update, axis), [0]), 1), list(range(1, rank - axis)))
    if first is not None:
        places = op.Add(places, op.Unsqueeze(int64(op, first), list(range(1, rank))))
    if given["mode"] == "circular":
        places = op.Mod(places, op.size_of(cache, axis))
    return [dcache, op.GatherElements(dy, op.Expand(places, op.shape_of(update)), axis=axis)]


@gradient("OneHot", inputs=(2,))
def one_hot(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The values (off, on) are written wherever the index does not match and where it does."""
    hit = op.OneHot(node.inputs[0], node.inputs[1], op.const([0, 1], like=dy), axis=node.attribute("axis", -1))
    on = op.Reshape(op.ReduceSum(op.Mul(dy, hit), keepdims=0), [1])
    off = op.Sub(op.Reshape(op.ReduceSum(dy, keepdims=0), [1]), on)
    return [None, None, op.Concat(off, on, axis=0)]


@gradient("Compress", inputs=(0,))
def compress(node: Node, dy: str, op: Emitter) -> Cotangents:
    chosen = op.Reshape(op.NonZero(node.inputs[1]), [-1])
    return [_from_chosen(node, op, dy, chosen)]


@gradient("Unique", inputs=(0,))
def unique(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dy goes to the first occurrence of each element."""
    return [None if dy is None else _from_chosen(node, op, dy, op.extra_output(node, 1))]


def _from_chosen(node: Node, op: Emitter, dy: str, chosen: str) -> str:
    """Slices along the node's axis back to their places; of the flattened input without an axis."""
    x = node.inputs[0]
    axis = node.attribute("axis")
    if axis is not None:
        return scatter_along(op, dy, chosen, op.shape_of(x), axis % op.rank(x), unique=True)
    length = op.Reshape(op.ReduceProd(op.shape_of(x), keepdims=0), [1])
    return op.reshape_like(scatter_along(op, dy, chosen, length, 0, unique=True), x)
