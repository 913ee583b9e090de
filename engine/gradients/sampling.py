"""Reading a tensor at real-valued positions, and back: what GridSample and DeformConv have in common.

A value at position (p, q, ...) is the sum over taps of weight(p) weight(q) ... x[index(p), index(q), ...], with one,
two or four taps per axis (nearest, linear, cubic). Backward, dx adds up weights times cotangent at the same indices,
and the positions get the slopes of the weights times x.

Additions go through ScatterElements: ONNX Runtime's ScatterND adds on several threads at once and loses some of what is
sent to one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from .pooling import tensor

Kernel = Literal["nearest", "linear", "cubic"]
Padding = Literal["zeros", "border", "reflection"]


@dataclass(frozen=True)
class Taps:
    """Along one axis, for positions (B, P): `index` int64 (B, T, P), `weight` and its `slope` alike, T = `count`."""

    index: str
    weight: str
    slope: str | None
    count: int


def extent(op: Emitter, x: str, axis: int, like: str) -> str:
    """The size of an axis as a scalar of the type of `like`."""
    size = op.shape(x)[axis]
    if isinstance(size, int):
        return op.const(float(size), like=like)
    return op.Squeeze(op.cast(op.shape_of(x, axis, axis + 1), like), [0])


def fold_back(op: Emitter, position: str, size: str, aligned: bool) -> tuple[str, str]:
    """`position` reflected at the borders until it is between them, and the slope (-1, 0, 1) of that."""
    low = 0.0 if aligned else -0.5
    span = op.Max(op.Sub(size, 1.0), 1.0) if aligned else size
    away = op.Sub(position, low)
    distance = op.Abs(away)
    turns = op.Floor(op.Div(distance, span))
    rest = op.Sub(distance, op.Mul(turns, span))
    odd = op.Sub(turns, op.Mul(op.Floor(op.Mul(turns, 0.5)), 2.0))
    direction = op.Sub(1.0, op.Mul(odd, 2.0))
    folded = op.Add(op.Add(op.Mul(direction, rest), op.Mul(odd, span)), low)
    return folded, op.Mul(op.Sign(away), direction)


def clip(op: Emitter, position: str, size: str) -> tuple[str, str]:
    """`position` clipped to [0, size - 1], and the slope (0 or 1) of that."""
    last = op.Sub(size, 1.0)
    inside = op.And(op.Greater(position, 0.0), op.Less(position, last))
    return op.Min(op.Max(position, 0.0), last), op.cast(inside, position)


def taps(op: Emitter, position: str, size: str, kernel: Kernel, padding: Padding, aligned: bool) -> Taps:
    """The taps for `position` (B, P) on an axis of `size` (a scalar in the type of `position`)."""
    slope = None
    if kernel != "cubic" and padding != "zeros":
        if padding == "reflection":
            position, slope = fold_back(op, position, size, aligned)
        position, inside = clip(op, position, size)
        slope = inside if slope is None else op.Mul(slope, inside)
    position = op.Unsqueeze(position, [1])
    if kernel == "nearest":
        index = op.Round(position)
        weight, rise, count = op.full_like(position, 1), None, 1
    else:
        first = op.Floor(position)
        part = op.Sub(position, first)
        count = 2 if kernel == "linear" else 4
        offsets = np.arange(count) - (count - 2) // 2
        index = op.Add(first, offsets.astype(op.dtype(position))[:, None])
        weight, rise = _linear(op, part) if kernel == "linear" else _cubic(op, part)
    if kernel == "cubic" and padding == "reflection":
        index = fold_back(op, index, size, aligned)[0]
    inner = clip(op, index, size)[0]
    if padding == "zeros":
        inside = op.cast(op.Equal(index, inner), weight)
        weight, rise = op.Mul(weight, inside), None if rise is None else op.Mul(rise, inside)
    elif slope is not None and rise is not None:
        rise = op.Mul(rise, op.Unsqueeze(slope, [1]))
    # A whole number that was folded back may miss one by its rounding.
    return Taps(op.Cast(op.Round(inner), to=TensorProto.INT64), weight, rise, count)


def _linear(op: Emitter, part: str) -> tuple[str, str]:
    rise = np.array([[-1.0], [1.0]], op.dtype(part))
    return op.Concat(op.Sub(1.0, part), part, axis=1), op.Mul(op.full_like(part, 1), rise)


def _cubic(op: Emitter, part: str) -> tuple[str, str]:
    """Keys' kernel (1981) with a = -0.75 at 1 + t, t, 1 - t, 2 - t, as polynomials in t, and their derivatives."""
    a = -0.75
    powers = np.array(
        [
            [0, a, -2 * a, a],
            [1, 0, -(a + 3), a + 2],
            [0, -a, 2 * a + 3, -(a + 2)],
            [0, 0, a, -a],
        ]
    )
    slopes = np.stack([powers[:, 1], 2 * powers[:, 2], 3 * powers[:, 3], 0 * powers[:, 0]], axis=1)

    def horner(coefficients: np.ndarray) -> str:
        columns = [c[:, None].astype(op.dtype(part)) for c in coefficients.T]
        value = op.Add(op.Mul(part, columns[3]), columns[2])
        value = op.Add(op.Mul(value, part), columns[1])
        return op.Add(op.Mul(value, part), columns[0])

    return horner(powers), horner(slopes)


def _spread(op: Emitter, factor: str, axis: int, count: int) -> str:
    """(B, T, P) as (B, ..., T, ..., P), T in the place of `axis` among `count`."""
    free = [a for a in range(1, 1 + count) if a != 1 + axis]
    return op.Unsqueeze(factor, free) if free else factor


def combine(op: Emitter, factors: Sequence[str]) -> str:
    """Factors (B, T_i, P), one per axis, multiplied to (B, T_1, ..., T_n, P)."""
    total = ""
    for i, factor in enumerate(factors):
        part = _spread(op, factor, i, len(factors))
        total = op.Mul(total, part) if total else part
    return total


@dataclass(frozen=True)
class Reading:
    """The taps of all axes together, for x (B, C, *sizes), its places flattened to L, and positions (B, P).

    index   int64 (B, C, T * P), into L
    planes  the shape (B, C, -1), `taps` (B, C, T, -1)
    """

    op: Emitter
    x: str
    axes: Sequence[Taps]
    index: str
    planes: str
    taps: str
    single: str

    @classmethod
    def of(cls, op: Emitter, x: str, axes: Sequence[Taps]) -> Reading:
        count = math.prod(a.count for a in axes)
        batch, channels = op.shape_of(x, 0, 1), op.shape_of(x, 1, 2)
        index = ""
        for i, axis in enumerate(axes):
            part = _spread(op, axis.index, i, len(axes))
            size = op.Squeeze(op.shape_of(x, 2 + i, 3 + i), [0])
            index = op.Add(op.Mul(index, size), part) if index else part
        flat = op.Reshape(index, op.Concat(batch, [1, -1], axis=0))
        everywhere = op.Expand(flat, op.Concat([1], channels, [1], axis=0))
        planes = op.Concat(batch, channels, [-1], axis=0)
        by_tap = op.Concat(batch, channels, [count, -1], axis=0)
        return cls(op, x, axes, everywhere, planes, by_tap, op.Concat(batch, [1, count, -1], axis=0))

    def weights(self, slope: int | None = None) -> str:
        """The weights (B, 1, T, P); along the axis `slope`, their slopes instead."""
        factors = [str(a.slope) if i == slope else a.weight for i, a in enumerate(self.axes)]
        return self.op.Reshape(combine(self.op, factors), self.single)

    def values(self, like: str) -> str:
        """x at all taps (B, C, T, P), in the type of `like`."""
        flat = self.op.cast(self.op.Reshape(self.x, self.planes), like)
        return self.op.Reshape(self.op.GatherElements(flat, self.index, axis=2), self.taps)

    def interpolated(self, like: str) -> str:
        """x at the positions (B, C, P), in the type of `like`."""
        return self.op.ReduceSum(self.op.Mul(self.values(like), self.weights()), [2], keepdims=0)

    def gradient_of_x(self, dy: str) -> str:
        """dx, given dy (B, C, P)."""
        op = self.op
        length = op.ReduceProd(op.shape_of(self.x, 2), [0], keepdims=1)
        size = op.Concat(op.shape_of(self.x, 0, 2), length, axis=0)
        zeros = op.ConstantOfShape(size, value=tensor(np.zeros(1, op.dtype(dy))))
        updates = op.Reshape(op.Mul(op.Unsqueeze(dy, [2]), self.weights()), self.planes)
        return op.reshape_like(op.ScatterElements(zeros, self.index, updates, axis=2, reduction="add"), self.x)

    def gradient_of_positions(self, dy: str) -> list[str]:
        """Per axis the cotangent (B, P) of the positions, given dy (B, C, P)."""
        op = self.op
        along = op.ReduceSum(op.Mul(self.values(dy), op.Unsqueeze(dy, [2])), [1], keepdims=1)
        return [op.ReduceSum(op.Mul(along, self.weights(slope=i)), [1, 2], keepdims=0) for i in range(len(self.axes))]
