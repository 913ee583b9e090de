"""Arithmetic and functions applied element by element.

At points where a function has no derivative (Abs at 0, ties of Max) a fixed choice is made and written at the rule.
"""

from __future__ import annotations

import math

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .gated import gate
from .registry import Cotangents, gradient

# ---- two or more operands


@gradient("Add", broadcasts=True)
def add(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [dy, dy]


@gradient("Sub", broadcasts=True)
def sub(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [dy, op.Neg(op.reduce_to(dy, node.inputs[1])) if node.wants[1] else None]


@gradient("Mul", broadcasts=True)
def mul(node: Node, dy: str, op: Emitter) -> Cotangents | dict[str, str]:
    gated = gate(node, dy, op)
    if gated is not None:
        return gated
    a, b = node.inputs
    return [op.Mul(dy, b) if node.wants[0] else None, op.Mul(dy, a) if node.wants[1] else None]


@gradient("Div", broadcasts=True)
def div(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = a / b: da = dy / b, db = -(dy / b) y."""
    da = op.Div(dy, node.inputs[1])
    return [da, op.Neg(op.reduce_to(op.Mul(da, node.outputs[0]), node.inputs[1])) if node.wants[1] else None]


@gradient("Sum", broadcasts=True)
def sum_(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [dy] * len(node.inputs)


@gradient("Mean", broadcasts=True)
def mean(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Div(dy, float(len(node.inputs)))] * len(node.inputs)


@gradient("Max", "Min", broadcasts=True)
def extremum(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dy goes to the operands that equal the result, in equal parts where several do.

    Against a constant, as in Max(x, 0), a tie counts as held: the slope is 0 there, as for Relu.
    """
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
def pow_(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x^e: dx = dy e x^(e-1), de = dy y log x; both 0 where e = 0 or x = 0 would make them 0 times infinity."""
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
        return op.Mul(op.Mul(dy, 2.0), x)
    if e == 3:
        return op.Mul(op.Mul(dy, 3.0), op.Mul(x, x))
    if e == 0.5:
        return op.Div(op.Mul(dy, 0.5), y)
    if e == -1:
        return op.Neg(op.Mul(dy, op.Mul(y, y)))
    return op.Mul(op.Mul(dy, e), op.Pow(x, op.const(e - 1, like=x)))


@gradient("Mod", broadcasts=True)
def mod(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = a - b q with q = trunc(a / b) (fmod=1, the only mode for floats): da = dy, db = -q dy."""
    a, b = node.inputs
    if not node.wants[1]:
        return [dy]
    quotient = op.Round(op.Div(op.Sub(a, node.outputs[0]), b))
    return [dy, op.Neg(op.Mul(dy, quotient))]


@gradient("Where", inputs=(1, 2), broadcasts=True)
def where(node: Node, dy: str, op: Emitter) -> Cotangents:
    condition = node.inputs[0]
    return [
        None,
        op.Where(condition, dy, 0.0) if node.wants[1] else None,
        op.Where(condition, 0.0, dy) if node.wants[2] else None,
    ]


# ---- one operand: dx = dy f'(x), written with y = f(x) if that is cheaper


@gradient("Identity", inputs=(0,))
def identity(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [dy]


@gradient("Neg", inputs=(0,))
def neg(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Neg(dy)]


@gradient("Abs", inputs=(0,))
def abs_(node: Node, dy: str, op: Emitter) -> Cotangents:
    """0 at 0."""
    return [op.Mul(dy, op.Sign(node.inputs[0]))]


@gradient("Exp", inputs=(0,))
def exp(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Mul(dy, node.outputs[0])]


@gradient("Log", inputs=(0,))
def log(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Div(dy, node.inputs[0])]


@gradient("Sqrt", inputs=(0,))
def sqrt(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Div(op.Mul(dy, 0.5), node.outputs[0])]


@gradient("Reciprocal", inputs=(0,))
def reciprocal(node: Node, dy: str, op: Emitter) -> Cotangents:
    y = node.outputs[0]
    return [op.Neg(op.Mul(dy, op.Mul(y, y)))]


@gradient("Erf", inputs=(0,))
def erf(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Mul(op.Mul(dy, 2 / math.sqrt(math.pi)), op.Exp(op.Neg(op.Mul(x, x))))]


@gradient("Sin", inputs=(0,))
def sin(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Mul(dy, cosine(op, node.inputs[0]))]


def cosine(op: Emitter, x: str) -> str:
    """ONNX Runtime's CPU provider has Sin but not Cos for float64."""
    return op.Sin(op.Add(x, math.pi / 2)) if op.dtype(x) == np.float64 else op.Cos(x)


@gradient("Cos", inputs=(0,))
def cos(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Neg(op.Mul(dy, op.Sin(node.inputs[0])))]


@gradient("Tan", inputs=(0,))
def tan(node: Node, dy: str, op: Emitter) -> Cotangents:
    y = node.outputs[0]
    return [op.Mul(dy, op.Add(op.Mul(y, y), 1.0))]


@gradient("Asin", inputs=(0,))
def asin(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x))))]


@gradient("Acos", inputs=(0,))
def acos(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Neg(op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x)))))]


@gradient("Atan", inputs=(0,))
def atan(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Div(dy, op.Add(op.Mul(x, x), 1.0))]


@gradient("Sinh", inputs=(0,))
def sinh(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Mul(dy, op.Cosh(node.inputs[0]))]


@gradient("Cosh", inputs=(0,))
def cosh(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Mul(dy, op.Sinh(node.inputs[0]))]


@gradient("Asinh", inputs=(0,))
def asinh(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Div(dy, op.Sqrt(op.Add(op.Mul(x, x), 1.0)))]


@gradient("Acosh", inputs=(0,))
def acosh(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Div(dy, op.Sqrt(op.Sub(op.Mul(x, x), 1.0)))]


@gradient("Atanh", inputs=(0,))
def atanh(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    return [op.Div(dy, op.Sub(1.0, op.Mul(x, x)))]
