"""Fourier transforms. They are linear: the cotangent goes back through the adjoint, conj(F)^T.

    y = F x             dx = F* dy, which is N times the inverse transform
    y = F* x / N        dx = F dy / N

Of a real input only the real part remains; a one-sided result is the first half of the whole one.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .registry import Cotangents, decompose, gradient

_AXIS_IS_AN_INPUT = 20


class _Axis:
    """An axis that is known, or is computed at run time."""

    def __init__(self, op: Emitter, known: int | None, value: str) -> None:
        self.op, self.known = op, known
        self.vector = op.Reshape(op.Cast(value, to=TensorProto.INT64), [1]) if known is None else op.const([known])
        self.scalar = value if known is None else op.const(known)

    def size(self, value: str) -> str:
        if self.known is not None:
            return self.op.size_of(value, self.known)
        return self.op.Gather(self.op.Shape(value), self.vector)

    def fit(self, value: str, like: str) -> str:
        """Cut `value` along the axis, or fill it with zeros, to the size of `like`."""
        if self.known is not None:
            have, due = self.op.shape(value)[self.known], self.op.shape(like)[self.known]
            if isinstance(have, int) and have == due:
                return value
        return self.extend(value, self.op.Sub(self.size(like), self.size(value)))

    def extend(self, value: str, more: str) -> str:
        return self.op.Pad(value, self.op.Concat([0], more, axis=0), None, self.vector)

    def across(self, vector: str, rank: int) -> str:
        """A vector along this axis, with the other axes of size 1."""
        ones = self.op.const([1] * rank)
        axis = self.op.Where(self.op.Less(self.vector, 0), self.op.Add(self.vector, rank), self.vector)
        return self.op.Reshape(vector, self.op.ScatterElements(ones, axis, [-1]))

    def transform(self, x: str, inverse: int = 0, onesided: int = 0) -> str:
        if self.op.opset < _AXIS_IS_AN_INPUT:
            return self.op.DFT(x, axis=self.known, inverse=inverse, onesided=onesided)
        return self.op.DFT(x, None, self.scalar, inverse=inverse, onesided=onesided)


@gradient("DFT", inputs=(0,))
def dft(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, given, named = node.inputs[0], node.input(1), node.input(2)
    rank = op.rank(x)
    if named is None:
        default = node.attribute("axis", 1) if op.opset < _AXIS_IS_AN_INPUT else -2
        axis = _Axis(op, default % rank, "")
    else:
        constant = op.constant_value(named)
        axis = _Axis(op, None if constant is None else int(constant.item()) % rank, named)
    inverse, onesided = node.attribute("inverse", 0), node.attribute("onesided", 0)
    if given is not None:
        length = op.Reshape(op.Cast(given, to=TensorProto.INT64), [1])
    elif inverse and onesided:
        length = op.Mul(op.Sub(axis.size(x), [1]), [2])
    else:
        length = axis.size(x)
    count = op.Cast(length, to=op.elem_type(dy))
    if inverse and onesided:
        # y is real: all frequencies but the first and, of an even length, the last stand for two.
        half = axis.transform(dy, onesided=1)
        places = op.Range(0, op.Squeeze(axis.size(half), [0]), 1)
        single = op.Or(op.Equal(places, op.const(0)), op.Equal(op.Mul(places, op.const(2)), length))
        weight = op.Where(single, op.const(1, like=dy), op.const(2, like=dy))
        return [axis.fit(op.Div(op.Mul(half, axis.across(weight, rank)), count), x)]
    if onesided:
        dy = axis.extend(dy, op.Sub(length, axis.size(dy)))
    whole = op.Div(axis.transform(dy), count) if inverse else op.Mul(axis.transform(dy, inverse=1), count)
    if op.shape(x)[-1] == 1:
        whole = op.Slice(whole, [0], [1], [rank - 1])
    return [axis.fit(whole, x)]


@decompose("STFT")
def stft(node: Node, op: Emitter) -> Sequence[str | None]:
    """Frames of the signal (batch, length, 1 or 2) taken by index, times the window, transformed.

    PyTorch and ONNX Runtime leave out the last axis of a real signal.
    """
    signal, step, window, given = node.inputs[0], node.inputs[1], node.input(2), node.input(3)
    if op.rank(signal) == 2:
        signal = op.Unsqueeze(signal, [2])
    if given is not None:
        length = op.Reshape(op.Cast(given, to=TensorProto.INT64), [1])
    else:
        length = op.size_of(node.inputs[2], 0)
    step = op.Reshape(op.Cast(step, to=TensorProto.INT64), [1])
    count = op.Add(op.Div(op.Sub(op.size_of(signal, 1), length), step), [1])
    starts = op.Mul(op.Range(0, op.Squeeze(count, [0]), 1), step)
    places = op.Range(0, op.Squeeze(length, [0]), 1)
    frames = op.Gather(signal, op.Add(op.Unsqueeze(starts, [1]), places), axis=1)
    if window is not None:
        frames = op.Mul(frames, op.Unsqueeze(window, [1]))
    return [_Axis(op, 2, "").transform(frames, onesided=node.attribute("onesided", 1))]
