"""Reductions along axes, cumulative sums, and selections by value.

Where several elements tie for a maximum or minimum, the cotangent is divided among them in equal parts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
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
    return sorted(axis % op.rank(node.inputs[0]) for axis in values)


def _kept(node: Node, op: Emitter, value: str) -> str:
    """`value`, of the shape of the output, with the reduced axes of size 1."""
    if node.attribute("keepdims", 1):
        return value
    axes = _constant_axes(node, op)
    if axes is None:
        shape = op.Shape(_again(node, op, "ReduceMax"))
        return str(op.Reshape(value, shape, allowzero=1))
    return str(op.Unsqueeze(value, axes)) if axes else value


def _again(node: Node, op: Emitter, op_type: str, value: str | None = None) -> str:
    """Reduce `value` (the node's input if None) over the node's axes, keeping them as axes of size 1."""
    axes = node.input(1)
    constant = _constant_axes(node, op)
    if constant is not None:
        if not constant:
            return node.inputs[0] if value is None else value
        axes = op.const(np.array(constant, np.int64))
    noop = node.attribute("noop_with_empty_axes", 0)
    result = op.emit(op_type, value or node.inputs[0], axes, keepdims=1, noop_with_empty_axes=noop)
    return str(result)


_Slope = Callable[[Node, Emitter, str, str, str], str]


def _reduction(op_type: str) -> Callable[[_Slope], _Slope]:
    """Register `function(node, op, dy, x, y) -> dx`; dy and y come with the reduced axes of size 1."""

    def register(function: _Slope) -> _Slope:
        @gradient(op_type, inputs=(0,))
        def rule(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
            (dy,) = cotangents
            assert dy is not None
            x = node.inputs[0]
            y = _kept(node, op, node.outputs[0]) if function not in _LINEAR else ""
            return [op.expand_like(function(node, op, _kept(node, op, dy), x, y), like=x)]

        return function

    return register


def _mean(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    axes = _constant_axes(node, op)
    sizes = None if axes is None else [op.shape(x)[axis] for axis in axes]
    if sizes is not None and all(isinstance(size, int) for size in sizes):
        count = op.const(float(np.prod([int(s or 0) for s in sizes], dtype=np.int64)), like=x)
    else:
        whole = op.ReduceProd(op.shape_of(x), keepdims=0)
        count = op.Cast(op.Div(whole, op.ReduceProd(op.Shape(dy), keepdims=0)), to=op.elem_type(x))
    return str(op.Div(dy, count))


def _sum(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    return dy


_LINEAR = (_sum, _mean)
_reduction("ReduceSum")(_sum)
_reduction("ReduceMean")(_mean)


@_reduction("ReduceMax")
def _max(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    best = op.Equal(x, y)
    count = _again(node, op, "ReduceSum", op.Cast(best, to=op.elem_type(x)))
    return str(op.Where(best, op.Div(dy, op.Max(count, op.const(1, like=x))), 0.0))


_reduction("ReduceMin")(_max)


@_reduction("ReduceProd")
def _prod(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    """The product of the other elements, also where there are zeros: with one zero, only its own place has a slope."""
    zero = op.Equal(x, op.const(0, like=x))
    flag = op.Cast(zero, to=op.elem_type(x))
    zeros = _again(node, op, "ReduceSum", flag)
    filled = op.Where(zero, 1.0, x)
    others = op.Div(_again(node, op, "ReduceProd", filled), filled)
    return str(op.Where(op.Equal(zeros, flag), op.Mul(dy, others), 0.0))


@_reduction("ReduceLogSum")
def _log_sum(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, op.Exp(op.Neg(y))))


@_reduction("ReduceLogSumExp")
def _log_sum_exp(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, op.Exp(op.Sub(x, y))))


@_reduction("ReduceL1")
def _l1(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, op.Sign(x)))


@_reduction("ReduceL2")
def _l2(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    """x / |x|, and 0 for x = 0."""
    return str(op.Mul(x, divide_or_zero(op, dy, y)))


@_reduction("ReduceSumSquare")
def _sum_square(node: Node, op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(op.Mul(dy, 2.0), x))


def divide_or_zero(op: Emitter, numerator: str, denominator: str) -> str:
    """numerator / denominator, 0 where the denominator is."""
    zero = op.Equal(denominator, op.const(0, like=denominator))
    return str(op.Where(zero, 0.0, op.Div(numerator, op.Where(zero, 1.0, denominator))))


@gradient("LpNormalization")
def lp_normalization(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """y = x / n with n = |x|_p: dx = (dy - n' sum(dy y)) / n, n' = sign(x) for p = 1 and y for p = 2."""
    (dy,) = cotangents
    x, y = node.inputs[0], node.outputs[0]
    axes = [node.attribute("axis", -1)]
    p = node.attribute("p", 2)
    norm = (op.ReduceL1 if p == 1 else op.ReduceL2)(x, axes, keepdims=1)
    along = op.ReduceSum(op.Mul(dy, y), axes, keepdims=1)
    return [divide_or_zero(op, op.Sub(dy, op.Mul(op.Sign(x) if p == 1 else y, along)), norm)]


@gradient("CumSum", inputs=(0,))
def cumsum(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """The cumulative sum of dy from the other end."""
    (dy,) = cotangents
    reverse = 1 - node.attribute("reverse", 0)
    return [op.CumSum(dy, node.inputs[1], exclusive=node.attribute("exclusive", 0), reverse=reverse)]


@gradient("CumProd", inputs=(0,))
def cumprod(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """The slope of y_i by x_j is the product y_i with x_j replaced by 1, if x_j is in it; right for zeros too.

    All j at once on a new first axis: quadratic in the length n of the axis.
    """
    (dy,) = cotangents
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
def topk(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """dy goes back to where the values were taken from."""
    dy = cotangents[0]
    if dy is None:
        return [None]
    x = node.inputs[0]
    indices = op.extra_output(node, 1)
    return [op.ScatterElements(op.zeros_like(x), indices, dy, axis=node.attribute("axis", -1))]
