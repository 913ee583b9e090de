"""MaxPool backward by places that are computed in the blocked layout: for pools of rectified maps on the CPU.

ONNX Runtime's own indices cost some 20 times as much as the pool; comparing tap by tap (`max_pooling.py`) leaves the
blocked layout of the convolutions around. Here the place of each maximum within its window is computed with what stays
in that layout: convolutions that pick one tap, sums, products and steep HardSigmoids (`steps.py`). Along one axis, with
a_k = [tap k is less than the maximum], the first tap that equals it is number a_0 + a_0 a_1 + a_0 a_1 a_2 + ...; first
within rows, then from row to row, as the operator's indices count. ScatterElements brings the cotangents there.

Padding is 0 here and not -inf, so the maps must be at least 0, and where a maximum is 0 the cotangent is set to 0, as
the rectifier before the pool would do; so nobody may have asked for the cotangent between the two. Two values count as
equal where they differ by less than 2^-126, and an infinity that a map runs into spoils the places around it. A tap is
picked exactly only by exact products: a provider that rounds factors, as CUDA does with TF32, may miss the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .finite import is_finite
from .registry import has_usual_rule
from .steps import NO_BETA, STEP_AT_ZERO, number, passed_between
from .windows import Axis

_BLOCK = 16
_LEAST_NUMBERS = 50_000


@dataclass(frozen=True)
class Map:
    """The sizes of a map, all but the batch, and the two axes of the windows that read it."""

    channels: int
    rows: Axis
    columns: Axis


def map_of(node: Node, op: Emitter, x: str, axes: Sequence[Axis]) -> Map | None:
    """What is read, if these places can be computed and are worth it."""
    shape = op.shape(x)
    if len(shape) != 4 or op.elem_type(x) != TensorProto.FLOAT or not isinstance(shape[1], int) or shape[1] % _BLOCK:
        return None
    if any(None in (a.size, a.count, a.before, a.after) or a.dilation != 1 or a.kernel == 1 for a in axes):
        return None
    if all(a.kernel <= a.stride for a in axes):
        return None  # for windows that do not overlap, comparing tap by tap is as fast
    numbers = shape[1] * (axes[0].count or 0) * axes[0].kernel * (axes[1].count or 0) * axes[1].kernel
    return Map(shape[1], *axes) if numbers >= _LEAST_NUMBERS and _is_rectified(op, node, x) else None


def max_pool_by_places(op: Emitter, dy: str, x: str, y: str, read: Map) -> str | None:
    """dx, 0 where `y` is; None where dy or x may be infinite."""
    passed = passed_between(op, dy, y, 0.0, None) if is_finite(op, x) else None
    if passed is None:
        return None
    rows, columns = read.rows, read.columns
    in_rows = op.MaxPool(x, kernel_shape=[1, columns.kernel], strides=[1, columns.stride], pads=_pads(columns, 3))
    column = _sum(op, _not_before(op, x, in_rows, columns, read.channels, 3))
    later = _not_before(op, in_rows, y, rows, read.channels, 2)
    place = _tap(op, column, _one_hot(rows, 0), rows, read.channels, 2)
    for k, gone in enumerate(later):
        change = _one_hot(rows, k + 1) - _one_hot(rows, k)
        place = op.Add(place, op.Mul(gone, _tap(op, column, change, rows, read.channels, 2)))
    to_rows = np.full((read.channels, 1, 1, 1), columns.size, np.float32)
    within = op.Add(op.Conv(_sum(op, later), to_rows, kernel_shape=[1, 1], group=read.channels), place)
    return _scattered(op, passed, op.Add(op.Cast(within, to=TensorProto.INT64), _corners(read)), x, read)


def rectifier_before(op: Emitter, x: str) -> str | None:
    """What the Relu that makes `x`, a rectified map, reads: the cotangent may be given to that at once."""
    maker = op.producer(x)
    return maker.input[0] if maker is not None and maker.op_type == "Relu" else None


def _is_rectified(op: Emitter, node: Node, x: str) -> bool:
    """Whether `x` is at least 0 for what makes it, and nothing of its cotangent counts where it is 0."""
    maker = op.producer(x)
    if maker is None or maker.domain not in ("", "ai.onnx") or x in node.asked:
        return False
    if not has_usual_rule(op, maker):
        return False
    if maker.op_type == "Clip" and len(maker.input) > 1 and maker.input[1]:
        low = number(maker.input[1], op)
        return low is not None and low >= 0
    if maker.op_type == "Concat":
        return all(_is_rectified(op, node, part) for part in maker.input)
    return bool(maker.op_type == "Relu")


def _pads(axis: Axis, place: int) -> list[int]:
    """The pads of both spatial axes; what windows that hang over the end read counts as padding."""
    size, count, before = axis.size or 0, axis.count or 0, axis.before or 0
    after = max((count - 1) * axis.stride + axis.kernel - size - before, 0)
    return [before, 0, after, 0] if place == 2 else [0, before, 0, after]


def _one_hot(axis: Axis, k: int) -> np.ndarray:
    return np.eye(1, axis.kernel, k, dtype=np.float32)


def _tap(op: Emitter, value: str, weights: np.ndarray, axis: Axis, channels: int, place: int) -> str:
    """The sum over the taps of a window along one axis, weighted."""
    shape = (1, 1, axis.kernel, 1) if place == 2 else (1, 1, 1, axis.kernel)
    filters = np.tile(weights.astype(np.float32).reshape(shape), (channels, 1, 1, 1))
    strides = [axis.stride, 1] if place == 2 else [1, axis.stride]
    return op.Conv(
        value, filters, kernel_shape=shape[2:], strides=strides, pads=_pads(axis, place), group=channels
    )  # fmt: skip


def _not_before(op: Emitter, value: str, maximum: str, axis: Axis, channels: int, place: int) -> list[str]:
    """For each tap but the last 1 where neither it nor one before it is the maximum, else 0."""
    result: list[str] = []
    for k in range(axis.kernel - 1):
        short = op.Add(_tap(op, value, -_one_hot(axis, k), axis, channels, place), maximum)
        less = op.HardSigmoid(short, alpha=STEP_AT_ZERO, beta=NO_BETA)
        result.append(op.Mul(result[-1], less) if result else less)
    return result


def _sum(op: Emitter, values: Sequence[str]) -> str:
    total = values[0]
    for value in values[1:]:
        total = op.Add(total, value)
    return total


def _corners(read: Map) -> np.ndarray:
    """The place of the first tap of each window in a channel that is written as one row (it may lie in the padding)."""
    tops, lefts = (np.arange(a.count or 0) * a.stride - (a.before or 0) for a in (read.rows, read.columns))
    return (tops[:, None] * (read.columns.size or 0) + lefts)[None, None].astype(np.int64)


def _scattered(op: Emitter, dy: str, places: str, x: str, read: Map) -> str:
    rows, columns = read.rows.size or 0, read.columns.size or 0
    # Places in the padding belong to cotangents that are 0; whatever not-a-number becomes is a place, too.
    inside = op.Clip(places, np.int64(0), np.int64(rows * columns - 1))
    flat = [0, 0, -1]
    whole = op.Concat(op.size_of(x, 0), [read.channels, rows * columns], axis=0)
    zeros = op.ConstantOfShape(whole, value=op.like_scalar(x, 0))
    taken = op.ScatterElements(zeros, op.Reshape(inside, flat), op.Reshape(dy, flat), axis=2, reduction="add")
    return op.Reshape(taken, [0, 0, rows, columns])
