"""Pools over all positions of a channel."""

from __future__ import annotations

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .pooling import norm_base, norm_scale
from .registry import Cotangents, gradient
from .windows import to_blocks


@gradient("GlobalAveragePool")
def global_average_pool(node: Node, dy: str, op: Emitter) -> Cotangents:
    x = node.inputs[0]
    sizes = op.shape(x)[2:]
    if all(isinstance(d, int) for d in sizes):
        count = float(np.prod([d for d in sizes if isinstance(d, int)]))
        each = op.Mul(dy, 1 / count if count else 0.0)
    else:
        each = op.Div(dy, op.Cast(op.ReduceProd(op.shape_of(x, 2), [0], keepdims=0), to=op.elem_type(dy)))
    return [to_blocks(op, op.expand_like(each, x))]


@gradient("GlobalMaxPool")
def global_max_pool(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Positions that tie share the cotangent."""
    x, y = node.inputs[0], node.outputs[0]
    largest = op.Equal(x, y)
    ties = op.ReduceSum(op.cast(largest, x), list(range(2, op.rank(x))), keepdims=1)
    return [op.Where(largest, op.Div(dy, ties), 0.0)]


@gradient("GlobalLpPool")
def global_lp_pool(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = (sum |x|^p)^(1/p): dx = x |x|^(p-2) dy y^(1-p); zero where y is."""
    x, y = node.inputs[0], node.outputs[0]
    p = node.attribute("p", 2)
    return [op.Mul(norm_base(op, x, p), norm_scale(op, dy, y, p))]
