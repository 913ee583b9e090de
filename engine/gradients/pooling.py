"""Pools over windows: MaxPool, AveragePool, LpPool, and MaxUnpool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .max_pool_places import map_of, max_pool_by_places, rectifier_before
from .max_pooling import max_pool_by_stages, pays_off
from .registry import Cotangents, gradient
from .windows import Axis, crop, membership, tap_counts, windows

_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def _windows(node: Node, op: Emitter, dy: str) -> list[Axis]:
    return windows(node, op, node.inputs[0], dy, node.attribute("kernel_shape"))


@gradient("MaxPool")
def max_pool(node: Node, dy: str, op: Emitter) -> Cotangents | dict[str, str]:
    """Each cotangent goes to the position that the operator itself chose.

    That is its second output, unless it is a large pool of known sizes: see `max_pool_places.py`, `max_pooling.py`.
    """
    x = node.inputs[0]
    axes = _windows(node, op, dy)
    read = map_of(node, op, x, axes) if node.output(1) is None else None
    dx = None if read is None else max_pool_by_places(op, dy, x, node.outputs[0], read)
    if dx is not None:
        return {rectifier_before(op, x) or x: dx}
    if node.output(1) is None and pays_off(op, x, axes):
        return [max_pool_by_stages(op, dy, x, node.outputs[0], axes)]
    indices = op.extra_output(node, 1)
    disjoint = all(axis.extent <= axis.stride for axis in axes)
    if any(axis.dilation > 1 and (axis.before or axis.after) for axis in axes):
        # A window may read nothing but padding: its index is none, and its value the lowest there is.
        found = op.Greater(node.outputs[0], float(np.finfo(op.dtype(x)).min))
        dy, indices = op.Where(found, dy, 0.0), op.Where(found, indices, np.int64(0))
    if node.attribute("storage_order", 0) == 0:
        return [scatter_flat(op, dy, indices, x, add=not disjoint)]
    # The indices count along the first spatial axis first: scatter into the tensor so transposed.
    spatial = len(axes)
    turned = [0, 1, *range(1 + spatial, 1, -1)]
    shape = op.Gather(op.shape_of(x), turned)
    flat = _scatter(op, dy, indices, x, add=not disjoint)
    return [op.Transpose(op.Reshape(flat, shape), perm=turned)]


def scatter_flat(op: Emitter, values: str, indices: str, like: str, add: bool) -> str:
    """Zeros in the shape of `like` with `values` put (or added) at `indices` into the flattened tensor."""
    return op.reshape_like(_scatter(op, values, indices, like, add), like)


def _scatter(op: Emitter, values: str, indices: str, like: str, add: bool) -> str:
    elem = op.elem_type(values)
    # ONNX Runtime's ScatterElements adds no half-precision numbers on the CPU; in float32 the sum is better, too.
    wide = add and elem in _NARROW
    updates = op.Reshape(values, [-1])
    if wide:
        updates = op.Cast(updates, to=TensorProto.FLOAT)
    number = np.zeros(1, np.float32 if wide else op.dtype(values))
    length = op.ReduceProd(op.shape_of(like), [0], keepdims=1)
    zeros = op.ConstantOfShape(length, value=tensor(number))
    reduction = "add" if add else "none"
    summed = op.ScatterElements(zeros, op.Reshape(indices, [-1]), updates, axis=0, reduction=reduction)
    return op.Cast(summed, to=elem) if wide else summed


@gradient("MaxUnpool", inputs=[0])
def max_unpool(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dx is dy read at the indices; of several values sent to one place, the last is there and has the gradient."""
    x, indices = node.inputs[:2]
    flat = op.Reshape(indices, [-1])
    length = op.ReduceProd(op.shape_of(x), [0], keepdims=0)
    order = op.Range(np.int64(0), length, np.int64(1))
    places = op.ConstantOfShape(op.ReduceProd(op.shape_of(dy), [0], keepdims=1), value=tensor(np.zeros(1, np.int64)))
    last = op.GatherElements(op.ScatterElements(places, flat, order, axis=0), flat, axis=0)
    dx = op.Where(op.Equal(last, order), op.GatherElements(op.Reshape(dy, [-1]), flat, axis=0), 0.0)
    return [op.reshape_like(dx, x)]


@gradient("AveragePool")
def average_pool(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The transposed sum of dy over the number of positions of each window."""
    x = node.inputs[0]
    axes = _windows(node, op, dy)
    counts = tap_counts(node, op, x, dy, axes, bool(node.attribute("count_include_pad", 0)))
    return [transposed_sum(node, op, op.Div(dy, counts), x, axes)]


@gradient("LpPool")
def lp_pool(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = (sum |x|^p)^(1/p): dx = x |x|^(p-2) times the transposed sum of dy y^(1-p); zero where y is."""
    x, y = node.inputs[0], node.outputs[0]
    p = node.attribute("p", 2)
    return [op.Mul(transposed_sum(node, op, norm_scale(op, dy, y, p), x, _windows(node, op, dy)), norm_base(op, x, p))]


def norm_scale(op: Emitter, dy: str, y: str, p: int) -> str:
    """dy y^(1-p), 0 where y is 0."""
    if p == 1:
        return dy
    inner = op.Div(dy, y if p == 2 else op.Pow(y, float(p - 1)))
    return op.Where(op.Greater(y, 0.0), inner, 0.0)


def norm_base(op: Emitter, x: str, p: int) -> str:
    """x |x|^(p-2)."""
    if p == 1:
        return op.Sign(x)
    if p == 2:
        return x
    return op.Mul(x, op.Abs(x) if p == 3 else op.Pow(op.Abs(x), float(p - 2)))


def transposed_sum(node: Node, op: Emitter, dy: str, x: str, axes: Sequence[Axis]) -> str:
    """dx[i] = sum of dy[o] over the windows `o` that read position `i`, in the shape of `x`.

    disjoint windows without padding    a nearest Resize
    stride 1, dilation 1                AveragePool once more: a sum over windows is its own transpose
    otherwise                           a product with the 0/1 matrix window x position along each axis
    """
    if all(a.kernel == a.stride and a.dilation == 1 and a.before == 0 for a in axes):
        return _repeated(op, dy, x, axes, ceil=bool(node.attribute("ceil_mode", 0)))
    if all(a.stride == 1 and a.dilation == 1 and 0 <= (a.before or 0) < a.kernel and a.rest == 0 for a in axes):
        pads = [a.kernel - 1 - (a.before or 0) for a in axes] + [a.kernel - 1 - (a.after or 0) for a in axes]
        if min(pads) >= 0:
            kernel = [a.kernel for a in axes]
            mean = op.AveragePool(dy, kernel_shape=kernel, pads=pads, count_include_pad=1)
            return op.Mul(mean, float(np.prod(kernel)))
    matrices = membership(node, op, x, dy, axes)
    for axis, matrix in zip(axes, matrices, strict=True):
        if axis.kernel > 1 or axis.stride > 1 or axis.before != 0 or axis.after != 0:
            dy = along(op, dy, matrix, 2 + axis.index)
    return dy


def _repeated(op: Emitter, dy: str, x: str, axes: Sequence[Axis], ceil: bool) -> str:
    scales = np.array([1, 1, *[a.stride for a in axes]], np.float32)
    wide = dy
    if any(a.stride > 1 for a in axes):
        wide = op.Resize(
            dy, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
    # Positions behind the last window get nothing; what a last window reads beyond the end is cut off.
    short, long = False, False
    for axis in axes:
        if axis.size is not None and axis.count is not None:
            short |= axis.count * axis.stride < axis.size
            long |= axis.count * axis.stride > axis.size
        elif axis.stride > 1:
            short |= not ceil
            long |= ceil or axis.after != 0
    if short:
        none = np.zeros(len(axes), np.int64)
        rest = op.Max(op.Sub(op.shape_of(x, 2), op.shape_of(wide, 2)), none)
        wide = op.Pad(wide, op.Concat(np.zeros(2 + len(axes) + 2, np.int64), rest, axis=0))
    return crop(op, wide, x) if long else wide


def along(op: Emitter, value: str, matrix: str, axis: int) -> str:
    """`value` (..., n, ...) times `matrix` (n, m) along `axis`: (..., m, ...)."""
    rank = op.rank(value)
    if axis == rank - 1:
        return op.MatMul(value, matrix)
    if axis == rank - 2:
        return op.MatMul(op.Transpose(matrix, perm=[1, 0]), value)
    turned = [i for i in range(rank) if i != axis] + [axis]
    back = list(np.argsort(turned))
    return op.Transpose(op.MatMul(op.Transpose(value, perm=turned), matrix), perm=back)


def tensor(array: np.ndarray) -> TensorProto:
    import onnx

    return onnx.numpy_helper.from_array(array)
