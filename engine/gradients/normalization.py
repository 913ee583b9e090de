"""Normalisation by statistics: of the training set, of a batch, a sample, a group, a layer or a neighbourhood."""

from __future__ import annotations

from ..emitter import Emitter, Node
from . import Cotangents, gradient


def per_channel(op: Emitter, vector: str, x: str) -> str:
    """A vector (C,) in the shape (C, 1, ...) that broadcasts against `x` (N, C, ...)."""
    trailing = op.rank(x) - 2
    return str(op.Unsqueeze(vector, list(range(1, 1 + trailing)))) if trailing > 0 else vector


@gradient("BatchNormalization")
def batch_normalization(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """y = scale (x - mean) / sqrt(var + epsilon) + bias, channel by channel.

    Where mean and var are those of the batch (training_mode), dx loses its mean and its part along the normalised x
    (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3).
    """
    x, scale, _, mean, var = node.inputs[:5]
    dy = cotangents[0]
    epsilon = node.attribute("epsilon", 1e-5)
    rest = [0, *range(2, op.rank(x))]
    if node.attribute("training_mode", 0):
        return _batch_statistics(node, cotangents, op, rest)
    if dy is None:
        return []
    result: list[str | None] = [None] * 5
    inverse = op.Reciprocal(op.Sqrt(op.Add(var, epsilon)))
    if node.wants[0]:
        factor = op.Mul(op.cast(scale, var), inverse)
        result[0] = op.Mul(dy, per_channel(op, op.cast(factor, x), x))
    if not any(node.wants[1:]):
        return result
    wide = op.cast(dy, var)
    total = op.ReduceSum(wide, rest, keepdims=0)
    if node.wants[2]:
        result[2] = op.cast(total, scale)
    if node.wants[1] or node.wants[4]:
        centred = op.Sub(op.cast(x, var), per_channel(op, mean, x))
        along_x = op.ReduceSum(op.Mul(wide, centred), rest, keepdims=0)
        result[1] = op.cast(op.Mul(along_x, inverse), scale)
        cube = op.Mul(inverse, op.Mul(inverse, inverse))
        result[4] = op.Mul(op.Mul(op.Mul(along_x, op.cast(scale, var)), cube), -0.5)
    if node.wants[3]:
        result[3] = op.Neg(op.Mul(op.Mul(total, op.cast(scale, var)), inverse))
    return result


def _batch_statistics(node: Node, cotangents: Cotangents, op: Emitter, rest: list[int]) -> Cotangents:
    """training_mode: the running statistics are momentum times those given plus (1 - momentum) times the batch's."""
    x, scale, _, mean, var = node.inputs[:5]
    dy, d_mean, d_var = (*cotangents, None, None)[:3]
    momentum = node.attribute("momentum", 0.9)
    wide = op.cast(x, var)
    centred = op.Sub(wide, op.ReduceMean(wide, rest, keepdims=1))
    spread = op.ReduceMean(op.Mul(centred, centred), rest, keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(spread, node.attribute("epsilon", 1e-5))))
    result: list[str | None] = [None] * 5
    parts: list[str] = []
    if dy is not None:
        dy = op.cast(dy, var)
        total = op.ReduceSum(dy, rest, keepdims=0)
        normalised = op.Mul(centred, inverse)
        along_x = op.Mul(dy, normalised)
        if node.wants[0]:
            slope = op.Mul(per_channel(op, op.cast(scale, var), x), inverse)
            pull = op.Mul(normalised, op.ReduceMean(along_x, rest, keepdims=1))
            parts.append(op.Mul(op.Sub(op.Sub(dy, op.ReduceMean(dy, rest, keepdims=1)), pull), slope))
        result[1] = op.cast(op.ReduceSum(along_x, rest, keepdims=0), scale)
        result[2] = op.cast(total, scale)
    count = op.Div(op.Cast(op.Size(x), to=op.elem_type(var)), op.Cast(op.Size(mean), to=op.elem_type(var)))
    if d_mean is not None:
        parts.append(op.Div(op.Mul(per_channel(op, d_mean, x), 1 - momentum), count))
        result[3] = op.Mul(d_mean, momentum)
    if d_var is not None:
        push = op.Mul(per_channel(op, d_var, x), 2 * (1 - momentum))
        parts.append(op.Div(op.Mul(push, centred), count))
        result[4] = op.Mul(d_var, momentum)
    dx = None
    for part in parts:
        dx = part if dx is None else op.Add(dx, part)
    if dx is not None and node.wants[0]:
        result[0] = op.cast(op.expand_like(dx, x), x)
    return result
