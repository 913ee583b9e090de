"""MaxPool backward without indices: axis by axis, by comparing.

ONNX Runtime computes the indices of a MaxPool on the CPU some 30 times slower than its values. So the cotangent is led
back without them. The maximum over a window is the maximum over rows of the maxima within rows; for one axis

    v[o] = max over taps k of u[o * stride + k * dilation - before]

the cotangent of v[o] goes to the first tap that equals v[o]: what earlier taps did not take is handed on, the last tap
takes the rest. Within rows first, the tap so chosen is the first in row-major order, the one that the operator's
indices name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..emitter.emitter import Emitter
from .windows import Axis


@dataclass(frozen=True)
class Tap:
    """One tap of all windows of an axis: window `o` reads position (o + shift) * stride + phase.

    first, end   the windows for which that is a position of the input, and not padding
    """

    shift: int
    phase: int
    first: int
    end: int

    @classmethod
    def of(cls, axis: Axis, k: int) -> Tap:
        assert axis.size is not None
        assert axis.count is not None
        assert axis.before is not None
        offset = k * axis.dilation - axis.before
        first = min(max(-(offset // axis.stride), 0), axis.count)
        end = min(max((axis.size - 1 - offset) // axis.stride + 1, first), axis.count)
        return cls(*divmod(offset, axis.stride), first, end)


@dataclass(frozen=True)
class Stage:
    """Pooling along one axis: what each tap reads (in the shape of `maximum`) and the `maximum` of them."""

    axis: Axis
    taps: list[Tap]
    values: list[str]
    maximum: str


LEAST_COMPARISONS = 50_000


def pays_off(op: Emitter, x: str, axes: Sequence[Axis]) -> bool:
    """Whether all sizes are known and the pool is large enough for some dozen nodes to be faster than indices."""
    channels = op.shape(x)[1]
    if not isinstance(channels, int) or any(None in (a.size, a.count, a.before, a.after) for a in axes):
        return False
    compared = channels * math.prod((a.count or 0) * a.kernel for a in axes)
    return compared >= LEAST_COMPARISONS


def max_pool_by_stages(op: Emitter, dy: str, x: str, y: str, axes: Sequence[Axis]) -> str:
    """dx, given dy and the output y of a MaxPool with windows `axes` of known sizes."""
    stages: list[Stage] = []
    active = [a for a in reversed(axes) if (a.kernel, a.stride, a.before, a.after) != (1, 1, 0, 0)]
    value = x
    for axis in active:
        stage = _forward(op, value, axis, y if axis is active[-1] else None)
        stages.append(stage)
        value = stage.maximum
    for stage in reversed(stages):
        dy = _backward(op, dy, stage)
    return dy


def _forward(op: Emitter, value: str, axis: Axis, maximum: str | None) -> Stage:
    place, rank = 2 + axis.index, op.rank(value)
    count = axis.count or 0
    taps = [Tap.of(axis, k) for k in range(axis.kernel)]
    phases = None
    if axis.stride > 1 and place == rank - 1:
        # Every n-th number of a row, for all n at once: one transposition is faster than so many strided slices.
        whole = _fit(op, value, place, 0, _rows(axis) * axis.stride - (axis.size or 0), 0.0)
        blocks = op.Reshape(whole, [*[0] * (rank - 1), -1, axis.stride])
        phases = op.Transpose(blocks, perm=[rank, *range(rank)])
    values = []
    for tap in taps:
        if phases is None:
            start = (tap.first + tap.shift) * axis.stride + tap.phase
            end = start + (tap.end - tap.first - 1) * axis.stride + 1
            read = _slice(op, value, start, end, place, axis.stride, axis.size or 0)
        else:
            read = op.Gather(phases, np.int64(tap.phase), axis=0)
            read = _slice(op, read, tap.first + tap.shift, tap.end + tap.shift, place, 1, _rows(axis))
        values.append(_fit(op, read, place, tap.first, count - tap.end, -np.inf))
    if maximum is None:
        maximum = op.Max(*values) if len(values) > 1 else values[0]
    return Stage(axis, taps, values, maximum)


def _rows(axis: Axis) -> int:
    """How many strides the positions make, the last perhaps not whole."""
    return -(-(axis.size or 0) // axis.stride)


def _slice(op: Emitter, value: str, start: int, end: int, axis: int, step: int, size: int) -> str:
    whole = step == 1 and start == 0 and end == size
    return value if whole else op.Slice(value, [start], [max(end, start)], [axis], [step])


def _fit(op: Emitter, value: str, axis: int, before: int, after: int, fill: float) -> str:
    if not before and not after:
        return value
    amounts = np.zeros((2, op.rank(value)), np.int64)
    amounts[:, axis] = before, after
    return op.Pad(value, amounts.ravel(), np.array(fill, op.dtype(value)) if fill else None)


def _backward(op: Emitter, dy: str, stage: Stage) -> str:
    axis, place = stage.axis, 2 + stage.axis.index
    rows, rest = _rows(axis), dy
    phases = [""] * axis.stride
    for number, (tap, value) in enumerate(zip(stage.taps, stage.values, strict=True), start=1):
        share = rest
        if number < len(stage.taps):
            share = op.Where(op.Equal(value, stage.maximum), rest, 0.0)
            rest = op.Sub(rest, share)
        if tap.end == tap.first:
            continue
        share = _slice(op, share, tap.first, tap.end, place, 1, axis.count or 0)
        moved = _fit(op, share, place, tap.first + tap.shift, rows - tap.end - tap.shift, 0.0)
        phases[tap.phase] = op.Add(phases[tap.phase], moved) if phases[tap.phase] else moved
    made = next(p for p in phases if p)
    if axis.stride == 1:
        return made
    split = [op.Unsqueeze(p or op.zeros_like(made), [place + 1]) for p in phases]
    behind = [d for d in op.shape(dy)[place + 1 :] if isinstance(d, int)]
    full = op.Reshape(op.Concat(*split, axis=place + 1), [*[0] * place, rows * axis.stride, *behind])
    return _slice(op, full, 0, axis.size or 0, place, 1, rows * axis.stride)
