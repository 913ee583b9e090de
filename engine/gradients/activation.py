"""Activation functions. Rules read the value after the activation where the derivative can be had from it."""

from __future__ import annotations

from ..emitter import Emitter, Node
from . import Cotangents, gradient


@gradient("Relu")
def relu(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """dx = dy where y > 0; Where lets no NaN through, unlike a product with a mask."""
    (dy,) = cotangents
    return [op.Where(op.Greater(node.outputs[0], 0.0), dy, 0.0)]
