"""Activation functions. Rules read the value after the activation where the derivative can be had from it.

At a kink the derivative is the one of the side that frameworks choose: 0 at the corner of Relu, at both ends of Clip,
HardSigmoid and HardSwish it is that of the outside.
"""

from __future__ import annotations

import math

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .registry import Cotangents, gradient
from .steps import is_step, number, one_minus, passed_between


@gradient("Relu", inputs=(0,))
def relu(node: Node, dy: str, op: Emitter) -> Cotangents:
    y = node.outputs[0]
    passed = passed_between(op, dy, y, 0.0, None)
    return [passed or op.Where(op.Greater(y, 0.0), dy, 0.0)]


@gradient("LeakyRelu", inputs=(0,))
def leaky_relu(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y has the sign of x for a positive slope."""
    x, y = node.inputs[0], node.outputs[0]
    alpha = node.attribute("alpha", 0.01)
    return [op.Where(op.Greater(y if alpha > 0 else x, 0.0), dy, op.Mul(dy, alpha))]


@gradient("PRelu", broadcasts=True)
def prelu(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, slope = node.inputs
    positive = op.Greater(x, 0.0)
    dx = op.Where(positive, dy, op.Mul(dy, slope)) if node.wants[0] else None
    return [dx, op.Where(positive, 0.0, op.Mul(dy, x)) if node.wants[1] else None]


@gradient("ThresholdedRelu", inputs=(0,))
def thresholded_relu(node: Node, dy: str, op: Emitter) -> Cotangents:
    alpha = node.attribute("alpha", 1.0)
    return [op.Where(op.Greater(node.inputs[0], alpha), dy, 0.0)]


@gradient("Elu", inputs=(0,))
def elu(node: Node, dy: str, op: Emitter) -> Cotangents:
    """alpha exp(x) = y + alpha on the negative side, whose sign y shares for a positive alpha."""
    x, y = node.inputs[0], node.outputs[0]
    alpha = node.attribute("alpha", 1.0)
    negative = op.Less(y if alpha > 0 else x, 0.0)
    return [op.Where(negative, op.Mul(dy, op.Add(y, alpha)), dy)]


@gradient("Celu", inputs=(0,))
def celu(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = alpha (exp(x / alpha) - 1) for x < 0: exp(x / alpha) = 1 + y / alpha."""
    x, y = node.inputs[0], node.outputs[0]
    alpha = node.attribute("alpha", 1.0)
    negative = op.Less(y if alpha > 0 else x, 0.0)
    return [op.Where(negative, op.Mul(dy, op.Add(op.Div(y, alpha), 1.0)), dy)]


@gradient("Selu", inputs=(0,))
def selu(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, y = node.inputs[0], node.outputs[0]
    alpha = node.attribute("alpha", 1.67326319217681884765625)
    gamma = node.attribute("gamma", 1.05070102214813232421875)
    negative = op.Less(y if alpha * gamma > 0 and gamma > 0 else x, 0.0)
    return [op.Where(negative, op.Mul(dy, op.Add(y, alpha * gamma)), op.Mul(dy, gamma))]


@gradient("Clip")
def clip(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dy where no bound holds y (read from y: Conv + Clip stays one kernel); a bound that holds gets dy."""
    x = node.inputs[0]
    low, high = node.input(1), node.input(2)
    dx = _passed_by_clip(node, dy, op) if node.wants[0] else None
    bounds: list[str | None] = []
    for index, bound in ((1, low), (2, high)):
        if not bound or not node.wants[index]:
            bounds.append(None)
            continue
        # The upper bound wins where the two cross: the standard's min(high, max(x, low)).
        held = op.Less(x, low) if index == 1 else op.Greater(op.Max(x, low) if low else x, high)
        if index == 1 and high:
            held = op.And(held, op.Less(low, high))
        bounds.append(op.reduce_to(op.Where(held, dy, 0.0), bound))
    return [dx, *bounds]


def _passed_by_clip(node: Node, dy: str, op: Emitter) -> str:
    y, low, high = node.outputs[0], node.input(1), node.input(2)
    numbers = [None if bound is None else number(bound, op) for bound in (low, high)]
    if all(bound is None or known is not None for bound, known in zip((low, high), numbers, strict=True)):
        passed = passed_between(op, dy, y, *numbers)
        if passed:
            return passed
    above = op.Greater(y, low) if low else None
    below = op.Less(y, high) if high else None
    free = op.And(above, below) if above and below else above or below
    return op.Where(free, dy, 0.0) if free else dy


@gradient("Sigmoid", inputs=(0,))
def sigmoid(node: Node, dy: str, op: Emitter) -> Cotangents:
    y = node.outputs[0]
    return [op.Mul(dy, op.Mul(y, one_minus(op, y)))]


@gradient("Tanh", inputs=(0,))
def tanh(node: Node, dy: str, op: Emitter) -> Cotangents:
    y = node.outputs[0]
    return [op.Mul(dy, op.Sub(1.0, op.Mul(y, y)))]


@gradient("HardSigmoid", inputs=(0,))
def hard_sigmoid(node: Node, dy: str, op: Emitter) -> Cotangents:
    y = node.outputs[0]
    alpha = node.attribute("alpha", 0.2)
    if is_step(alpha):
        return [None]
    inside = op.And(op.Greater(y, 0.0), op.Less(y, 1.0))
    return [op.Where(inside, op.Mul(dy, alpha), 0.0)]


@gradient("HardSwish", inputs=(0,))
def hard_swish(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x max(0, min(1, x/6 + 1/2)): slope x/3 + 1/2 between -3 and 3. y alone does not tell x there."""
    x = node.inputs[0]
    slope = op.Add(op.Mul(x, 1 / 3), 0.5)
    upper = op.Where(op.Less(x, 3.0), op.Mul(dy, slope), dy)
    return [op.Where(op.Greater(x, -3.0), upper, 0.0)]


@gradient("Softplus", inputs=(0,))
def softplus(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Mul(dy, op.Sigmoid(node.inputs[0]))]


@gradient("Softsign", inputs=(0,))
def softsign(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x / (1 + |x|): 1 / (1 + |x|) = 1 - |y|."""
    rest = op.Sub(1.0, op.Abs(node.outputs[0]))
    return [op.Mul(dy, op.Mul(rest, rest))]


@gradient("Mish", inputs=(0,))
def mish(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x t with t = tanh(softplus(x)): slope t + x sigmoid(x) (1 - t^2)."""
    x = node.inputs[0]
    t = op.Tanh(op.Softplus(x))
    inner = op.Mul(op.Mul(x, op.Sigmoid(x)), op.Sub(1.0, op.Mul(t, t)))
    return [op.Mul(dy, op.Add(t, inner))]


@gradient("Swish", inputs=(0,))
def swish(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x s with s = sigmoid(alpha x): slope s + alpha y (1 - s)."""
    x, y = node.inputs[0], node.outputs[0]
    return [swish_slope(op, dy, x, y, node.attribute("alpha", 1.0))]


def swish_slope(op: Emitter, dy: str, x: str, y: str, alpha: float) -> str:
    s = op.Sigmoid(x if alpha == 1 else op.Mul(x, alpha))
    rest = op.Mul(y, one_minus(op, s))
    return op.Mul(dy, op.Add(s, rest if alpha == 1 else op.Mul(rest, alpha)))


@gradient("SwiGLU")
def swiglu(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = swish(a) b."""
    a, b = node.inputs
    alpha = node.attribute("alpha", 1.0)
    gate = op.Mul(a, op.Sigmoid(a if alpha == 1 else op.Mul(a, alpha)))
    da = swish_slope(op, op.Mul(dy, b), a, gate, alpha) if node.wants[0] else None
    return [da, op.Mul(dy, gate) if node.wants[1] else None]


@gradient("Gelu", inputs=(0,))
def gelu(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [gelu_slope(op, dy, node.inputs[0], node.attribute("approximate", "none"))]


def gelu_slope(op: Emitter, dy: str, x: str, approximate: str) -> str:
    """Exact: Phi(x) + x phi(x). Tanh form: h = (1 + t) / 2 with t = tanh(c (x + 0.044715 x^3)), slope h + x h'."""
    square = op.Mul(x, x)
    if approximate == "tanh":
        c = math.sqrt(2 / math.pi)
        t = op.Tanh(op.Mul(x, op.Add(op.Mul(square, 0.044715 * c), c)))
        bend = op.Mul(op.Sub(1.0, op.Mul(t, t)), op.Mul(x, op.Add(op.Mul(square, 3 * 0.044715 * c), c)))
        return op.Mul(op.Mul(dy, 0.5), op.Add(op.Add(t, 1.0), bend))
    phi = op.Mul(op.Exp(op.Mul(square, -0.5)), 1 / math.sqrt(2 * math.pi))
    cumulative = op.Mul(op.Add(op.Erf(op.Mul(x, math.sqrt(0.5))), 1.0), 0.5)
    return op.Mul(dy, op.Add(cumulative, op.Mul(x, phi)))


@gradient("Shrink", inputs=(0,))
def shrink(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Slope 1 outside [-lambd, lambd], 0 inside; the bias shifts only."""
    return [op.Where(op.Greater(op.Abs(node.inputs[0]), node.attribute("lambd", 0.5)), dy, 0.0)]


@gradient("Softmax", inputs=(0,))
def softmax(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dx = (dy - sum(dy y)) y, the sum along the axis."""
    y = node.outputs[0]
    axis = node.attribute("axis", -1)
    weighted = op.ReduceSum(op.Mul(dy, y), [axis], keepdims=1)
    return [op.Mul(op.Sub(dy, weighted), y)]


@gradient("LogSoftmax", inputs=(0,))
def log_softmax(node: Node, dy: str, op: Emitter) -> Cotangents:
    """dx = dy - exp(y) sum(dy)."""
    total = op.ReduceSum(dy, [node.attribute("axis", -1)], keepdims=1)
    return [op.Sub(dy, op.Mul(op.Exp(node.outputs[0]), total))]
