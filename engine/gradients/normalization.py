"""Normalisation by statistics: of the training set, of a batch, a sample, a group, a layer or a neighbourhood."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .registry import Cotangents, gradient

_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def wide(op: Emitter, value: str, like: str) -> str:
    """`value` in float32 where `like` is in half precision, whose range sums of squares leave; else in its type."""
    elem = op.elem_type(like)
    elem = int(TensorProto.FLOAT) if elem in _NARROW else elem
    return value if op.elem_type(value) == elem else op.Cast(value, to=elem)


def normalised(op: Emitter, x: str, axes: list[int], epsilon: float) -> tuple[str, str]:
    """x less its mean over `axes`, divided by sqrt(variance + epsilon), and one over that root."""
    centred = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(variance, epsilon)))
    return op.Mul(centred, inverse), inverse


def through_statistics(op: Emitter, d: str, unit: str, inverse: str, axes: list[int], centred: bool = True) -> str:
    """The cotangent of x, given `d`, that of `unit` = (x - mean) / root; `inverse` = 1 / root.

    dx = (d - mean(d) - unit mean(d unit)) / root; without mean(d) where no mean was taken off (`centred`).
    """
    pull = op.Mul(unit, op.ReduceMean(op.Mul(d, unit), axes, keepdims=1))
    if centred:
        pull = op.Add(pull, op.ReduceMean(d, axes, keepdims=1))
    return op.Mul(op.Sub(d, pull), inverse)


def per_channel(op: Emitter, vector: str, x: str) -> str:
    """A vector (C,) in the shape (C, 1, ...) that broadcasts against `x` (N, C, ...)."""
    trailing = op.rank(x) - 2
    return op.Unsqueeze(vector, list(range(1, 1 + trailing))) if trailing > 0 else vector


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
    dy = op.cast(dy, var)
    total = op.ReduceSum(dy, rest, keepdims=0)
    if node.wants[2]:
        result[2] = op.cast(total, scale)
    if node.wants[1] or node.wants[4]:
        centred = op.Sub(op.cast(x, var), per_channel(op, mean, x))
        along_x = op.ReduceSum(op.Mul(dy, centred), rest, keepdims=0)
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
    exact = op.cast(x, var)
    unit, inverse = normalised(op, exact, rest, node.attribute("epsilon", 1e-5))
    result: list[str | None] = [None] * 5
    parts: list[str] = []
    if dy is not None:
        dy = op.cast(dy, var)
        slope = op.Mul(per_channel(op, op.cast(scale, var), x), inverse)
        parts.append(through_statistics(op, dy, unit, slope, rest))
        result[1] = op.cast(op.ReduceSum(op.Mul(dy, unit), rest, keepdims=0), scale)
        result[2] = op.cast(op.ReduceSum(dy, rest, keepdims=0), scale)
    count = op.Div(op.Cast(op.Size(x), to=op.elem_type(var)), op.Cast(op.Size(mean), to=op.elem_type(var)))
    if d_mean is not None:
        parts.append(op.Div(op.Mul(per_channel(op, d_mean, x), 1 - momentum), count))
        result[3] = op.Mul(d_mean, momentum)
    if d_var is not None:
        push = op.Mul(per_channel(op, d_var, x), 2 * (1 - momentum))
        parts.append(op.Div(op.Mul(push, op.Div(unit, inverse)), count))
        result[4] = op.Mul(d_var, momentum)
    dx = None
    for part in parts:
        dx = part if dx is None else op.Add(dx, part)
    if dx is not None and node.wants[0]:
        result[0] = op.cast(op.expand_like(dx, x), x)
    return result


@gradient("InstanceNormalization")
def instance_normalization(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Statistics of each channel of each sample."""
    x, scale = node.inputs[:2]
    spatial = list(range(2, op.rank(x)))
    dy = wide(op, dy, x)
    unit, inverse = normalised(op, wide(op, x, x), spatial, node.attribute("epsilon", 1e-5))
    result: list[str | None] = [None, None, None]
    if node.wants[0]:
        slope = op.Mul(per_channel(op, wide(op, scale, x), x), inverse)
        result[0] = op.cast(through_statistics(op, dy, unit, slope, spatial), x)
    if node.wants[1]:
        result[1] = op.cast(op.ReduceSum(op.Mul(dy, unit), [0, *spatial], keepdims=0), x)
    if node.wants[2]:
        result[2] = op.cast(op.ReduceSum(dy, [0, *spatial], keepdims=0), x)
    return result


@gradient("GroupNormalization")
def group_normalization(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Statistics of each group of channels of each sample; scale and bias per channel, before opset 21 per group."""
    x, scale = node.inputs[:2]
    groups = node.attribute("num_groups")
    by_group = op.const(np.array([0, groups, -1], np.int64))
    unit, inverse = normalised(op, op.Reshape(wide(op, x, x), by_group), [2], node.attribute("epsilon", 1e-5))
    slope, summed = wide(op, scale, x), wide(op, dy, x)
    result: list[str | None] = [None, None, None]
    if op.opset < 21:
        d = op.Reshape(summed, by_group)
        if node.wants[0]:
            dx = through_statistics(op, d, unit, op.Mul(op.Unsqueeze(slope, [1]), inverse), [2])
            result[0] = op.cast(op.reshape_like(dx, x), x)
        rest = [0, 2]
    else:
        d, rest = summed, [0, *range(2, op.rank(x))]
        if node.wants[0]:
            scaled = op.Reshape(op.Mul(d, per_channel(op, slope, x)), by_group)
            result[0] = op.cast(op.reshape_like(through_statistics(op, scaled, unit, inverse, [2]), x), x)
        unit = op.reshape_like(unit, x)
    if node.wants[1]:
        result[1] = op.cast(op.ReduceSum(op.Mul(d, unit), rest, keepdims=0), x)
    if node.wants[2]:
        result[2] = op.cast(op.ReduceSum(d, rest, keepdims=0), x)
    return result


@gradient("LayerNormalization")
def layer_normalization(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    """Statistics over the axes from `axis` on; the operator gives them as its second and third output."""
    dy, d_mean, d_inverse = (*cotangents, None, None)[:3]
    x, scale = node.inputs[:2]
    axis = node.attribute("axis", -1) % op.rank(x)
    axes = list(range(axis, op.rank(x)))
    exact = wide(op, x, x)
    if op.elem_type(exact) != TensorProto.FLOAT:
        # The operator gives its statistics in float32 (stash_type) even where x is more exact.
        unit, inverse = normalised(op, exact, axes, node.attribute("epsilon", 1e-5))
    else:
        mean, inverse = op.extra_output(node, 1), op.extra_output(node, 2)
        unit = op.Mul(op.Sub(exact, mean), inverse)
    result: list[str | None] = [None, None, None]
    dx = None
    if dy is not None:
        dy = wide(op, dy, x)
        if node.wants[0]:
            dx = through_statistics(op, op.Mul(dy, wide(op, scale, x)), unit, inverse, axes)
        result[1] = op.cast(op.reduce_to(op.Mul(dy, unit), scale), scale)
        if node.input(2):
            result[2] = op.cast(op.reduce_to(dy, node.inputs[2]), scale)
    if node.wants[0] and (d_mean is not None or d_inverse is not None):
        # mean = sum(x) / n, inverse = (variance + epsilon)^(-1/2)
        shift = None if d_mean is None else op.cast(d_mean, exact)
        if d_inverse is not None:
            bend = op.Mul(op.Mul(op.Mul(op.cast(d_inverse, exact), inverse), inverse), unit)
            shift = op.Neg(bend) if shift is None else op.Sub(shift, bend)
        count = op.Cast(op.ReduceProd(op.shape_of(x, axis), [0], keepdims=0), to=op.elem_type(exact))
        extra = op.Div(shift, count)
        dx = op.expand_like(extra, x) if dx is None else op.Add(dx, extra)
    result[0] = None if dx is None else op.cast(dx, x)
    return result


@gradient("RMSNormalization")
def rms_normalization(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = scale x / sqrt(mean(x^2) + epsilon) over the axes from `axis` on."""
    x, scale = node.inputs[:2]
    axes = list(range(node.attribute("axis", -1) % op.rank(x), op.rank(x)))
    exact, dy = wide(op, x, x), wide(op, dy, x)
    square = op.ReduceMean(op.Mul(exact, exact), axes, keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(square, node.attribute("epsilon", 1e-5))))
    unit = op.Mul(exact, inverse)
    result: list[str | None] = [None, None]
    if node.wants[0]:
        dx = through_statistics(op, op.Mul(dy, wide(op, scale, x)), unit, inverse, axes, centred=False)
        result[0] = op.cast(dx, x)
    if node.wants[1]:
        result[1] = op.cast(op.reduce_to(op.Mul(dy, unit), scale), scale)
    return result


@gradient("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = (x - mean) / (standard deviation + 1e-9) over `axes`: without the small number, as `through_statistics`."""
    x, y = node.inputs[0], node.outputs[0]
    axes = node.attribute("axes") or [0, 2, 3]
    if node.attribute("axes") is None:
        # Spelled out, because ONNX's strict shape inference stumbles over the default.
        node.proto.attribute.append(onnx.helper.make_attribute("axes", axes))
    exact = wide(op, x, x)
    centred = op.Sub(exact, op.ReduceMean(exact, axes, keepdims=1))
    deviation = op.Sqrt(op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1))
    inverse = op.Reciprocal(op.Add(deviation, 1e-9))
    return [op.cast(through_statistics(op, wide(op, dy, x), wide(op, y, x), inverse, axes), x)]


@gradient("LRN")
def lrn(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = x s^-beta with s = bias + alpha / size * (sum of x^2 over a window of channels).

    dx = dy s^-beta - 2 alpha beta / size * x * (transposed window sum of dy x s^(-beta - 1)).
    """
    x = node.inputs[0]
    size, alpha, beta = node.attribute("size"), node.attribute("alpha", 1e-4), node.attribute("beta", 0.75)
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    exact, d = wide(op, x, x), wide(op, dy, x)
    squares = _channel_mean(op, op.Mul(exact, exact), size, low, high)
    s = op.Add(op.Mul(squares, alpha), node.attribute("bias", 1.0))
    scaled = op.Mul(d, op.Pow(s, -beta))
    pull = _channel_mean(op, op.Div(op.Mul(scaled, exact), s), size, high, low)
    return [op.cast(op.Sub(scaled, op.Mul(op.Mul(exact, 2 * alpha * beta), pull)), x)]


def _channel_mean(op: Emitter, value: str, size: int, low: int, high: int) -> str:
    """The sum over the channels from c - low to c + high, over `size`, by an average pool along the channel axis."""
    channels = op.shape_of(value, 1, 2)
    planes = op.Reshape(value, op.Concat([0, 1], channels, [-1], axis=0))
    mean = op.AveragePool(planes, kernel_shape=[size, 1], pads=[low, 0, high, 0], count_include_pad=1)
    return op.reshape_like(mean, value)
