"""Arithmetic and functions applied element by element."""

from __future__ import annotations

from ..emitter import Emitter, Node
from . import Cotangents, gradient


@gradient("Add", broadcasts=True)
def add(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    return [dy, dy]


@gradient("Sub", broadcasts=True)
def sub(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    return [dy, op.Neg(dy)] if node.wants[1] else [dy]


@gradient("Mul", broadcasts=True)
def mul(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    (dy,) = cotangents
    a, b = node.inputs
    return [op.Mul(dy, b) if node.wants[0] else None, op.Mul(dy, a) if node.wants[1] else None]
