"""Arithmetic and functions applied element by element.

At points where a function has no derivative (Abs at 0, ties of Max) a fixed choice is made and written at the rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .gated import gate
from .registry import Cotangents, gradient

# ---- two or more operands


@gradient("Add", broadcasts=True)
def add(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    return [dy, dy]


@gradient("Sub", broadcasts=True)
def sub(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    assert dy is not None
    return [dy, op.Neg(op.reduce_to(dy, node.inputs[1])) if node.wants[1] else None]


@gradient("Mul", broadcasts=True)
def mul(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents | dict[str, str]:
    (dy,) = cotangents
    assert dy is not None
    gated = gate(node, dy, op)
    if gated is not None:
        return gated
    a, b = node.inputs
    return [op.Mul(dy, b) if node.wants[0] else None, op.Mul(dy, a) if node.wants[1] else None]


@gradient("Div", broadcasts=True)
def div(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """y = a / b: da = dy / b, db = -(dy / b) y."""
    (dy,) = cotangents
    da = op.Div(dy, node.inputs[1])
    return [da, op.Neg(op.reduce_to(op.Mul(da, node.outputs[0]), node.inputs[1])) if node.wants[1] else None]


@gradient("Sum", broadcasts=True)
def sum_(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    return [dy] * len(node.inputs)


@gradient("Mean", broadcasts=True)
def mean(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    return [op.Div(dy, float(len(node.inputs)))] * len(node.inputs)


@gradient("Max", "Min", broadcasts=True)
def extremum(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """dy goes to the operands that equal the result, in equal parts where several do.

    Against a constant, as in Max(x, 0), a tie counts as held: the slope is 0 there, as for Relu.
    """
    (dy,) = cotangents
    y = node.outputs[0]
    if len(node.inputs) == 1:
        return [dy]
    if len(node.inputs) == 2 and sum(node.wants) == 1:
        own = node.wants.index(True)
        if op.constant_nbytes(node.inputs[1 - own]) is not None:
            free = (op.Greater if node.op_type == "Max" else op.Less)(y, node.inputs[1 - own])
            return [None] * own + [op.Where(free, dy, 0.0)]
    chosen = [op.Equal(x, y) for x in node.inputs]
    ones = [op.Cast(c, to=op.elem_type(y)) for c in chosen]
    count = ones[0]
    for one in ones[1:]:
        count = op.Add(count, one)
    # The operand that made y equals it, unless that was NaN.
    share = op.Div(dy, op.Max(count, op.const(1, like=y)))
    return [op.Where(c, share, 0.0) if wanted else None for c, wanted in zip(chosen, node.wants, strict=True)]


@gradient("Pow", broadcasts=True)
def pow_(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """y = x^e: dx = dy e x^(e-1), de = dy y log x; both 0 where e = 0 or x = 0 would make them 0 times infinity."""
    (dy,) = cotangents
    assert dy is not None
    x, e = node.inputs
    y = node.outputs[0]
    dx = de = None
    if node.wants[0]:
        constant = op.constant_value(e)
        if constant is not None and constant.size == 1:
            dx = _power_rule(op, dy, x, y, float(constant.reshape(())))
        else:
            exponent = op.cast(e, like=x)
            slope = op.Mul(exponent, op.Pow(x, op.Sub(exponent, 1.0)))
            dx = op.Mul(dy, op.Where(op.Equal(exponent, op.const(0, like=x)), 0.0, slope))
    if len(node.wants) > 1 and node.wants[1] and op.is_float(e):
        positive = op.Greater(x, op.const(0, like=x))
        log = op.Log(op.Where(positive, x, 1.0))
        de = op.cast(op.Mul(op.Mul(dy, y), log), like=e)
    return [dx, de]


def _power_rule(op: Emitter, dy: str, x: str, y: str, e: float) -> str:
    if e == 0:
        return op.zeros_like(x)
    if e == 1:
        return dy
    if e == 2:
        return str(op.Mul(op.Mul(dy, 2.0), x))
    if e == 3:
        return str(op.Mul(op.Mul(dy, 3.0), op.Mul(x, x)))
    if e == 0.5:
        return str(op.Div(op.Mul(dy, 0.5), y))
    if e == -1:
        return str(op.Neg(op.Mul(dy, op.Mul(y, y))))
    return str(op.Mul(op.Mul(dy, e), op.Pow(x, op.const(e - 1, like=x))))


@gradient("Mod", broadcasts=True)
def mod(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """y = a - b q with q = trunc(a / b) (fmod=1, the only mode for floats): da = dy, db = -q dy."""
    (dy,) = cotangents
    a, b = node.inputs
    if not node.wants[1]:
        return [dy]
    quotient = op.Round(op.Div(op.Sub(a, node.outputs[0]), b))
    return [dy, op.Neg(op.Mul(dy, quotient))]


@gradient("Where", inputs=(1, 2), broadcasts=True)
def where(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    condition = node.inputs[0]
    return [
        None,
        op.Where(condition, dy, 0.0) if node.wants[1] else None,
        op.Where(condition, 0.0, dy) if node.wants[2] else None,
    ]


# ---- one operand: dx = dy f'(x), written with y = f(x) where that is cheaper

_Slope = Callable[[Emitter, str, str, str], str]


def _unary(op_type: str) -> Callable[[_Slope], _Slope]:
    """Register `function(op, dy, x, y) -> dx` as the rule of an operator of one input and one output."""

    def register(function: _Slope) -> _Slope:
        @gradient(op_type, inputs=(0,))
        def rule(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
            (dy,) = cotangents
            assert dy is not None
            return [function(op, dy, node.inputs[0], node.outputs[0])]

        return function

    return register


@_unary("Identity")
def identity(op: Emitter, dy: str, x: str, y: str) -> str:
    return dy


@_unary("Neg")
def neg(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Neg(dy))


@_unary("Abs")
def abs_(op: Emitter, dy: str, x: str, y: str) -> str:
    """0 at 0."""
    return str(op.Mul(dy, op.Sign(x)))


@_unary("Exp")
def exp(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, y))


@_unary("Log")
def log(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(dy, x))


@_unary("Sqrt")
def sqrt(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(op.Mul(dy, 0.5), y))


@_unary("Reciprocal")
def reciprocal(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Neg(op.Mul(dy, op.Mul(y, y))))


@_unary("Erf")
def erf(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(op.Mul(dy, 2 / math.sqrt(math.pi)), op.Exp(op.Neg(op.Mul(x, x)))))


@_unary("Sin")
def sin(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, cosine(op, x)))


def cosine(op: Emitter, x: str) -> str:
    """ONNX Runtime's CPU provider has Sin but not Cos for float64."""
    return str(op.Sin(op.Add(x, math.pi / 2)) if op.dtype(x) == np.float64 else op.Cos(x))


@_unary("Cos")
def cos(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Neg(op.Mul(dy, op.Sin(x))))


@_unary("Tan")
def tan(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, op.Add(op.Mul(y, y), 1.0)))


@_unary("Asin")
def asin(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x)))))


@_unary("Acos")
def acos(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Neg(op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x))))))


@_unary("Atan")
def atan(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(dy, op.Add(op.Mul(x, x), 1.0)))


@_unary("Sinh")
def sinh(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, op.Cosh(x)))


@_unary("Cosh")
def cosh(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Mul(dy, op.Sinh(x)))


@_unary("Asinh")
def asinh(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(dy, op.Sqrt(op.Add(op.Mul(x, x), 1.0))))


@_unary("Acosh")
def acosh(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(dy, op.Sqrt(op.Sub(op.Mul(x, x), 1.0))))


@_unary("Atanh")
def atanh(op: Emitter, dy: str, x: str, y: str) -> str:
    return str(op.Div(dy, op.Sub(1.0, op.Mul(x, x))))
