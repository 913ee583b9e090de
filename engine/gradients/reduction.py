"""Reductions along axes, cumulative sums, and selections by value.

Where several elements tie for a maximum or minimum, the cotangent is divided among them in equal parts.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from ..proto.values import shape_of
from .registry import Cotangents, gradient

_TRUE = onnx.numpy_helper.from_array(np.array([True]))


def _constant_axes(node: Node, op: Emitter) -> list[int] | None:
    """The reduced axes, non-negative; None where they are computed at run time."""
    axes = node.input(1)
    values: list[int] = []
    if axes is not None:
        constant = op.constant_value(axes)
        if constant is None:
            return None
        values = [int(axis) for axis in constant.reshape(-1)]
    if not values:
        return [] if node.attribute("noop_with_empty_axes", 0) else list(range(op.rank(node.inputs[0])))
    if min(values) >= 0:
        return sorted(values)  # right of a value of unknown rank too, as the result of an If may be
    return sorted(axis % op.rank(node.inputs[0]) for axis in values)


def _kept(node: Node, op: Emitter, value: str) -> str:
    """`value`, of the shape of the output, with the reduced axes of size 1."""
    if node.attribute("keepdims", 1):
        return value
    axes = _constant_axes(node, op)
    if axes is None:
        shape = op.Shape(_again(node, op, "ReduceMax"))
        return op.Reshape(value, shape, allowzero=1)
    return op.Unsqueeze(value, axes) if axes else value


def _again(node: Node, op: Emitter, op_type: str, value: str | None = None) -> str:
    """Reduce `value` (the node's input if None) over the node's axes, keeping them as axes of size 1."""
    axes = node.input(1)
    constant = _constant_axes(node, op)
    if constant is not None:
        if not constant:
            return node.inputs[0] if value is None else value
        axes = op.const(np.array(constant, np.int64))
    noop = node.attribute("noop_with_empty_axes", 0)
    return op.emit(op_type, value or node.inputs[0], axes, keepdims=1, noop_with_empty_axes=noop)


def _operands(node: Node, dy: str, op: Emitter) -> tuple[str, str, str]:
    """x, and y and dy with the reduced axes of size 1."""
    y = _kept(node, op, node.outputs[0])
    return node.inputs[0], y, _kept(node, op, dy)


@gradient("ReduceSum", inputs=(0,))
def reduce_sum(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.expand_like(_kept(node, op, dy), like=node.inputs[0])]


@gradient("ReduceMean", inputs=(0,))
def reduce_mean(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, dy = node.inputs[0], _kept(node, op, dy)
    axes = _constant_axes(node, op)
    known = shape_of(op.type(x))
    sizes = None if axes is None or known is None else [known[axis] for axis in axes]
    if sizes is not None and all(isinstance(size, int) for size in sizes):
        count = op.const(float(np.prod([int(s or 0) for s in sizes], dtype=np.int64)), like=x)
    else:
        whole = op.ReduceProd(op.shape_of(x), keepdims=0)
        count = op.Cast(op.Div(whole, op.ReduceProd(op.Shape(dy), keepdims=0)), to=op.elem_type(x))
    return [op.expand_like(op.Div(dy, count), like=x)]


@gradient("ReduceMax", "ReduceMin", inputs=(0,))
def reduce_extremum(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, y, dy = _operands(node, dy, op)
    best = op.Equal(x, y)
    count = _again(node, op, "ReduceSum", op.Cast(best, to=op.elem_type(x)))
    return [op.expand_like(op.Where(best, op.Div(dy, op.Max(count, op.const(1, like=x))), 0.0), like=x)]


@gradient("ReduceProd", inputs=(0,))
def reduce_prod(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The product of the other elements, also where there are zeros: with one zero, only its own place has a slope."""
    x, _, dy = _operands(node, dy, op)
    zero = op.Equal(x, op.const(0, like=x))
    flag = op.Cast(zero, to=op.elem_type(x))
    zeros = _again(node, op, "ReduceSum", flag)
    filled = op.Where(zero, 1.0, x)
    others = op.Div(_again(node, op, "ReduceProd", filled), filled)
    return [op.expand_like(op.Where(op.Equal(zeros, flag), op.Mul(dy, others), 0.0), like=x)]


@gradient("ReduceLogSum", inputs=(0,))
def reduce_log_sum(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, y, dy = _operands(node, dy, op)
    return [op.expand_like(op.Mul(dy, op.Exp(op.Neg(y))), like=x)]


@gradient("ReduceLogSumExp", inputs=(0,))
def reduce_log_sum_exp(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, y, dy = _operands(node, dy, op)
    return [op.expand_like(op.Mul(dy, op.Exp(op.Sub(x, y))), like=x)]


@gradient("ReduceL1", inputs=(0,))
def reduce_l1(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, _, dy = _operands(node, dy, op)
    return [op.expand_like(op.Mul(dy, op.Sign(x)), like=x)]


@gradient("ReduceL2", inputs=(0,))
def reduce_l2(node: Node, dy: str, op: Emitter) -> Cotangents:
    """x / |x|, and 0 for x = 0."""
    x, y, dy = _operands(node, dy, op)
    return [op.expand_like(op.Mul(x, divide_or_zero(op, dy, y)), like=x)]


@gradient("ReduceSumSquare", inputs=(0,))
def reduce_sum_square(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, _, dy = _operands(node, dy, op)
    return [op.expand_like(op.Mul(op.Mul(dy, 2.0), x), like=x)]


def divide_or_zero(op: Emitter, numerator: str, denominator: str) -> str:
    """numerator / denominator, 0 where the denominator is."""
    zero = op.Equal(denominator, op.const(0, like=denominator))
    return op.Where(zero, 0.0, op.Div(numerator, op.Where(zero, 1.0, denominator)))


@gradient("LpNormalization")
def lp_normalization(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x / n with n = |x|_p: dx = (dy - n' sum(dy y)) / n, n' = sign(x) for p = 1 and y for p = 2."""
    x, y = node.inputs[0], node.outputs[0]
    axes = [node.attribute("axis", -1)]
    p = node.attribute("p", 2)
    norm = (op.ReduceL1 if p == 1 else op.ReduceL2)(x, axes, keepdims=1)
    along = op.ReduceSum(op.Mul(dy, y), axes, keepdims=1)
    return [divide_or_zero(op, op.Sub(dy, op.Mul(op.Sign(x) if p == 1 else y, along)), norm)]


@gradient("CumSum", inputs=(0,))
def cumsum(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The cumulative sum of dy from the other end."""
    reverse = 1 - node.attribute("reverse", 0)
    return [op.CumSum(dy, node.inputs[1], exclusive=node.attribute("exclusive", 0), reverse=reverse)]


@gradient("CumProd", inputs=(0,))
def cumprod(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The slope of y_i by x_j is the product y_i with x_j replaced by 1, if x_j is in it; right for zeros too.

    All j at once on a new first axis: quadratic in the length n of the axis.
    """
    x, axis = node.inputs
    exclusive, reverse = node.attribute("exclusive", 0), node.attribute("reverse", 0)
    rank = op.rank(x)
    axis = op.Reshape(op.Cast(axis, to=TensorProto.INT64), [1])
    axis = op.Where(op.Less(axis, 0), op.Add(axis, rank), axis)
    size = op.Gather(op.shape_of(x), axis)
    inner = op.Add(axis, 1)  # the axis, behind the new one
    shape = op.ScatterElements(op.const([1] * (rank + 1)), op.Concat([0], inner, axis=0), op.Concat(size, size, axis=0))
    square = op.ConstantOfShape(op.Concat(size, size, axis=0), value=_TRUE)
    upper = op.Trilu(square, op.const(0), upper=1)
    same = op.Reshape(op.And(upper, op.Trilu(square, op.const(0), upper=0)), shape)
    part = op.Trilu(square, op.const(-exclusive if reverse else exclusive), upper=1 - reverse)
    others = op.CumProd(op.Where(same, 1.0, x), inner, exclusive=exclusive, reverse=reverse)
    slopes = op.Where(op.Reshape(part, shape), op.Mul(others, dy), 0.0)
    along = op.ReduceSum(slopes, inner, keepdims=1)
    return [op.reshape_like(op.ReduceSum(op.Where(same, along, 0.0), [0], keepdims=0), x)]


@gradient("TopK", inputs=(0,))
def topk(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dy goes back to where the values were taken from."""
    x = node.inputs[0]
    indices = op.extra_output(node, 1)
    return [op.ScatterElements(op.zeros_like(x), indices, dy, axis=node.attribute("axis", -1))]
