"""Choosing inside a graph what a target is about: its cotangent as a value computed from the answer.

Each function gives a mask, 1 where the target's numbers lie and 0 elsewhere, which `share` makes a cotangent of: the
score is the mean over the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..errors import TargetError


def share(op: Emitter, mask: str) -> str:
    """A mask (N, ...) divided by its sum for each sample; zeros where it is empty."""
    axes = list(range(1, op.rank(mask)))
    if not axes:
        return mask
    return op.Div(mask, op.Max(op.ReduceSum(mask, axes, keepdims=1), op.const(np.float32(1))))


def real(op: Emitter, name: str) -> str:
    """The value in float32."""
    return name if op.elem_type(name) == TensorProto.FLOAT else op.Cast(name, to=TensorProto.FLOAT)


def one_hot(op: Emitter, index: str, like: str, axis: int) -> str:
    """float32, 1 at `index`, (1,) or (N,), along one axis of `like`: (1 or N, 1, ..., size, ..., 1)."""
    hot = op.OneHot(index, op.size_of(like, axis), op.const(np.array([0, 1], np.float32)), axis=-1)
    ones = [1] * op.rank(like)
    ones[0], ones[axis] = 0, -1
    return op.Reshape(hot, op.const(ones))


def element_mask(op: Emitter, of: str, index: Sequence[int | str], text: str) -> str:
    """Of one element per sample of a value (N, ...): `index` as of `Element`."""
    rank = op.rank(of)
    if len(index) == rank and op.shape(of)[0] == 1:
        index = index[1:]  # a value without a batch axis
    if len(index) != rank - 1:
        raise TargetError(f"the target {text} names {len(index)} axes, the value has {rank - 1} after the batch")
    places = {axis: entry for axis, entry in enumerate(index, 1) if isinstance(entry, int)}
    means = [axis for axis, entry in enumerate(index, 1) if entry == "mean"]
    mask = op.const(np.ones((1,) * rank, np.float32))
    if "max" in index:
        chosen = real(op, of)
        for axis, place in places.items():
            chosen = op.Gather(chosen, op.const([place]), axis=axis)
        mask = _greatest(op, op.ReduceMean(chosen, means, keepdims=1) if means else chosen)
    for axis, place in places.items():
        size = op.shape(of)[axis]
        if isinstance(size, int) and not -size <= place < size:
            raise TargetError(f"the target {text} is out of range: axis {axis} of the value has 0 to {size - 1}")
        mask = op.Mul(mask, one_hot(op, op.const([place]), of, axis))
    return op.Expand(mask, op.Shape(of))


def unit_mask(op: Emitter, of: str, channel: int | None, at: Sequence[int] | str | None, axes: Sequence[int]) -> str:
    """Of a unit of a value (N, ...): `channel`, None for the one with the greatest value, at the place `at`, at the
    place of its greatest value (a text), or everywhere (None). axes: of the channels, then of the places."""
    y, rank = real(op, of), op.rank(of)
    if channel is None:
        index = op.ArgMax(op.Reshape(_greatest_of(op, y, axes[1:]), op.const([0, -1])), axis=1, keepdims=0)
    else:
        index = op.const([channel])
    mask = one_hot(op, index, of, axes[0])
    if isinstance(at, str) and len(axes) > 1:
        nothing = op.const(np.zeros((1,) * rank, np.float32))
        # Not multiplied: 0 times infinity is no number.
        alone = op.ReduceSum(op.Where(op.Greater(mask, nothing), y, nothing), [axes[0]], keepdims=1)
        mask = op.Mul(mask, _greatest(op, alone))
    elif at is not None and not isinstance(at, str):
        for axis, place in zip(axes[1:], at, strict=True):
            mask = op.Mul(mask, one_hot(op, op.const([place]), of, axis))
    return op.Expand(mask, op.Shape(of))


def _greatest_of(op: Emitter, y: str, axes: Sequence[int]) -> str:
    return op.ReduceMax(y, list(axes), keepdims=1) if axes else y


def _greatest(op: Emitter, y: str) -> str:
    """1 at the first of the greatest elements of each sample (N, ...), 0 elsewhere."""
    flat = op.Reshape(y, op.const([0, -1]))
    index = op.ArgMax(flat, axis=1, keepdims=0)
    hot = op.OneHot(index, op.size_of(flat, 1), op.const(np.array([0, 1], np.float32)), axis=-1)
    return op.Reshape(hot, op.Shape(y))


def as_maps(op: Emitter, of: str, channel: int | None, axes: tuple[int, int]) -> str:
    """float32 (N, C, h, w) of a dense value; `channel` None: C is 1."""
    y = real(op, of)
    if channel is None:
        return op.Unsqueeze(op.Transpose(y, perm=[0, *axes]), [1])
    return op.Transpose(y, perm=[0, channel, *axes])


def as_value(op: Emitter, maps: str, channel: int | None, axes: tuple[int, int]) -> str:
    """The axes of (N, C, h, w) back in their places."""
    perm = [0, *axes] if channel is None else [0, channel, *axes]
    return op.Transpose(op.Squeeze(maps, [1]) if channel is None else maps, perm=[int(i) for i in np.argsort(perm)])


def largest_class(op: Emitter, maps: str) -> str:
    """(N,): the class of (N, C, h, w) that wins at most places; class 0 is the background where it covers most."""
    if op.shape(maps)[1] == 1:
        return op.const([0])
    areas = op.ReduceSum(wins(op, maps), [2, 3], keepdims=0)
    rest = op.Slice(areas, op.const([1]), op.const([1 << 31]), op.const([1]))
    first, other = op.ArgMax(areas, axis=1, keepdims=0), op.ArgMax(rest, axis=1, keepdims=0)
    any_other = op.Greater(op.ReduceMax(rest, [1], keepdims=0), op.const(np.float32(0)))
    behind = op.And(op.Equal(first, op.const([0])), any_other)
    return op.Where(behind, op.Add(other, op.const([1])), first)


def wins(op: Emitter, maps: str) -> str:
    """(N, C, h, w): 1 at the class with the greatest score of each place, 0 elsewhere."""
    best = op.ArgMax(maps, axis=1, keepdims=0)
    return op.OneHot(best, op.size_of(maps, 1), op.const(np.array([0, 1], np.float32)), axis=1)


def region_mask(
    op: Emitter, maps: str, chosen: str, least: float, cells: NDArray[np.bool_] | None, boundary: bool
) -> str:
    """Of the class `chosen`, (1,) or (N,), in (N, C, h, w): where it wins, the band along its edge, or `cells` (h, w).

    least: the score above which a single class is there.
    """
    hot = one_hot(op, chosen, maps, 1)
    if cells is not None:
        return op.Expand(op.Mul(hot, op.const(cells.astype(np.float32)[None, None])), op.Shape(maps))
    if op.shape(maps)[1] == 1:
        inside = op.Cast(op.Greater(maps, op.const(np.float32(least))), to=TensorProto.FLOAT)
    else:
        inside = op.ReduceSum(op.Mul(wins(op, maps), hot), [1], keepdims=1)
    if boundary:
        outside = op.Sub(op.const(np.float32(1)), inside)
        inside = op.Mul(_widened(op, inside), _widened(op, outside))
    return op.Mul(inside, hot)


def _widened(op: Emitter, inside: str) -> str:
    """(N, 1, h, w) with the four neighbours of each place that is 1."""
    down = op.MaxPool(inside, kernel_shape=[3, 1], pads=[1, 0, 1, 0])
    return op.Max(down, op.MaxPool(inside, kernel_shape=[1, 3], pads=[0, 1, 0, 1]))
