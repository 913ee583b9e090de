"""Activations that exporters write as several nodes, recognised at the product that ends them.

    x sigmoid(a x)              SiLU, Swish, and with a = 1.702 the quick GELU
    x/2 (1 + erf(x / sqrt 2))   GELU, the factors in any order

Their derivative as one function takes half as many passes over memory as node by node, and memory is what elementwise
functions cost. `gate` gives way where a rule of the user's stands for a node in between or where the cotangent of a
value in between is asked for.
"""

from __future__ import annotations

import math

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .registry import has_usual_rule
from .steps import number, one_minus


def gate(node: Node, dy: str, op: Emitter) -> dict[str, str] | None:
    """{x: dx} if the product `node` is such an activation of x, else None."""
    if len(node.inputs) != 2:
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        found = _swish(node, dy, x, factor, op) or _gelu(node, dy, x, factor, op)
        if found is not None:
            return found
    return None


def _inner(node: Node, name: str, op_type: str, op: Emitter) -> Node | None:
    """The node that makes `name`, if it is `op_type` and may be differentiated as a part of `node`."""
    maker = op.producer(name)
    if maker is None or maker.op_type != op_type or maker.domain not in ("", "ai.onnx"):
        return None
    return Node(maker) if name in node.active and name not in node.asked and has_usual_rule(op, maker) else None


def _scaled(node: Node, name: str, op: Emitter) -> tuple[str, float]:
    """(x, a) with `name` = a x: through a product with or a quotient by one number, else `name` itself and 1."""
    product = _inner(node, name, "Mul", op)
    if product is not None:
        for x, other in (product.inputs, product.inputs[::-1]):
            factor = number(other, op)
            if factor is not None and op.rank(x) >= op.rank(other):
                return x, factor
    quotient = _inner(node, name, "Div", op)
    if quotient is not None:
        divisor = number(quotient.inputs[1], op)
        if divisor and op.rank(quotient.inputs[0]) >= op.rank(quotient.inputs[1]):
            return quotient.inputs[0], 1 / divisor
    return name, 1.0


def _swish(node: Node, dy: str, x: str, factor: str, op: Emitter) -> dict[str, str] | None:
    """y = x s with s = sigmoid(a x): dx = dy (s + a y (1 - s))."""
    sigmoid = _inner(node, factor, "Sigmoid", op)
    if sigmoid is None:
        return None
    inside = sigmoid.inputs[0]
    source, a = (x, 1.0) if inside == x else _scaled(node, inside, op)
    if source != x:
        return None
    rest = op.Mul(node.outputs[0], one_minus(op, factor))
    return {x: op.Mul(dy, op.Add(factor, rest if a == 1 else op.Mul(rest, a)))}


def _gelu(node: Node, dy: str, gated: str, factor: str, op: Emitter) -> dict[str, str] | None:
    """y = (a x) (b p) with p = 1 + erf(u), u = c x: dx = dy (a b p + a b (2 / sqrt pi) u exp(-u^2))."""
    p, b = _scaled(node, factor, op)
    total = _inner(node, p, "Add", op)
    if total is None:
        return None
    for one, part in (total.inputs, total.inputs[::-1]):
        erf = _inner(node, part, "Erf", op)
        if erf is None or number(one, op) != 1:
            continue
        u = erf.inputs[0]
        source, c = _scaled(node, u, op)
        x, a = (gated, 1.0) if gated == source else _scaled(node, gated, op)
        if x != source or c == 1 or op.rank(node.outputs[0]) != op.rank(x):
            continue
        bell = op.Mul(op.Mul(u, a * b * 2 / math.sqrt(math.pi)), op.Exp(op.Neg(op.Mul(u, u))))
        return {x: op.Mul(dy, op.Add(factor if a == 1 else op.Mul(factor, a), bell))}
    return None
