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

from ..emitter import Emitter
from .windows import Axis

_END = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Stage:
    """Pooling along one axis: the `taps` of all windows (each in the shape of `maximum`) and their `maximum`.

    period  length of the axis, padded or cut to a multiple of the stride
    """

    axis: Axis
    taps: list[str]
    maximum: str
    period: int


def pays_off(op: Emitter, x: str, axes: Sequence[Axis]) -> bool:
    """Whether all sizes are known and the pool is large enough for some dozen nodes to be faster than indices."""
    channels = op.shape(x)[1]
    if not isinstance(channels, int) or any(None in (a.size, a.count, a.before, a.after) for a in axes):
        return False
    compared = channels * math.prod((a.count or 0) * a.kernel for a in axes)
    return compared >= LEAST_COMPARISONS


LEAST_COMPARISONS = 50_000


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
    assert axis.size is not None
    assert axis.count is not None
    assert axis.before is not None
    reach = (axis.count - 1) * axis.stride + axis.extent
    period = -(-reach // axis.stride) * axis.stride
    after = period - axis.before - axis.size
    if after < 0:
        value = op.Slice(value, [0], [period - axis.before], [place])
    if axis.before or after > 0:
        amounts = np.zeros((2, rank), np.int64)
        amounts[:, place] = axis.before, max(after, 0)
        value = op.Pad(value, amounts.ravel(), np.array(-np.inf, op.dtype(value)))
    offsets = [k * axis.dilation for k in range(axis.kernel)]
    if axis.stride > 1 and place == rank - 1:
        # Every n-th number of a row, for all n at once: one transposition is faster than so many strided slices.
        blocks = op.Reshape(value, [*[0] * (rank - 1), -1, axis.stride])
        phases = op.Transpose(blocks, perm=[rank, *range(rank)])
        taps = []
        for offset in offsets:
            phase = op.Gather(phases, np.int64(offset % axis.stride), axis=0)
            first = offset // axis.stride
            taps.append(_slice(op, phase, first, first + axis.count, place, 1, period // axis.stride))
    else:
        taps = [
            _slice(op, value, o, o + (axis.count - 1) * axis.stride + 1, place, axis.stride, period) for o in offsets
        ]
    if maximum is None:
        maximum = op.Max(*taps) if len(taps) > 1 else taps[0]
    return Stage(axis, taps, maximum, period)


def _slice(op: Emitter, value: str, start: int, end: int, axis: int, step: int, size: int) -> str:
    whole = step == 1 and start == 0 and end == size
    return value if whole else str(op.Slice(value, [start], [end], [axis], [step]))


def _backward(op: Emitter, dy: str, stage: Stage) -> str:
    axis, place = stage.axis, 2 + stage.axis.index
    rank = op.rank(dy)
    rest = dy
    shares = []
    for number, tap in enumerate(stage.taps, start=1):
        share = rest
        if number < len(stage.taps):
            share = op.Where(op.Equal(tap, stage.maximum), rest, 0.0)
            rest = op.Sub(rest, share)
        shares.append(share)
    assert axis.size is not None
    assert axis.count is not None
    assert axis.before is not None
    length = stage.period // axis.stride
    phases: list[str] = []
    for phase in range(axis.stride):
        total = ""
        for k, share in enumerate(shares):
            first, own = divmod(k * axis.dilation, axis.stride)
            if own != phase:
                continue
            amounts = np.zeros((2, rank), np.int64)
            amounts[:, place] = first, length - first - axis.count
            moved = op.Pad(share, amounts.ravel()) if amounts.any() else share
            total = op.Add(total, moved) if total else moved
        phases.append(total)
    made = next(p for p in phases if p)
    if axis.stride == 1:
        full = made
    else:
        split = [op.Unsqueeze(p or op.zeros_like(made), [place + 1]) for p in phases]
        behind = [d for d in op.shape(dy)[place + 1 :] if isinstance(d, int)]
        full = op.Reshape(op.Concat(*split, axis=place + 1), [*[0] * place, stage.period, *behind])
    if axis.before or stage.period > axis.before + axis.size:
        full = op.Slice(full, [axis.before], [axis.before + axis.size], [place])
    missing = axis.size - (stage.period - axis.before)
    if missing > 0:
        amounts = np.zeros((2, rank), np.int64)
        amounts[1, place] = missing
        full = op.Pad(full, amounts.ravel())
    return str(full)
