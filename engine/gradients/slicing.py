"""Parts, repetitions and borders of tensors."""

from __future__ import annotations

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .convolution import parts_of_channels
from .indexing import int64, scatter_along
from .linear import along_axis
from .registry import Cotangents, gradient

_LAST = np.iinfo(np.int64).max
_DENSE = 512


@gradient("Slice", inputs=(0,))
def slice_(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Zeros around dy; between its elements too where the step is not 1."""
    x, starts, ends = node.inputs[:3]
    rank = op.rank(x)
    given = [op.constant_value(name) if name else None for name in (starts, ends, node.input(3), node.input(4))]
    count = given[0].size if given[0] is not None else op.shape(starts)[0]
    axes = [int(a) % rank for a in given[2]] if given[2] is not None else None
    if node.input(3) is None and isinstance(count, int):
        axes = list(range(count))
    steps = [int(s) for s in given[3]] if given[3] is not None else None
    if node.input(4) is None and axes is not None:
        steps = [1] * len(axes)
    if axes is not None and steps is not None:
        sizes = [op.shape(x)[axis] for axis in axes]
        if given[0] is not None and given[1] is not None and all(isinstance(s, int) for s in sizes):
            windows = [
                range(int(n or 0))[int(a) : _bound(int(b)) : s]
                for a, b, s, n in zip(given[0], given[1], steps, sizes, strict=True)
            ]
            return [_spread(op, dy, x, axes, windows)]
        if all(step == 1 for step in steps):
            return [_pad_dynamic(op, dy, x, axes, int64(op, starts))]
    return [_by_index(node, op, dy)]


def _bound(end: int) -> int | None:
    """The standard's "past the beginning" for negative steps, INT_MIN and its like, is None in Python."""
    return None if end < -(1 << 30) else end


def _spread(op: Emitter, dy: str, x: str, axes: list[int], windows: list[range]) -> str:
    """Put dy at known, evenly spaced places: zeros after each element, then zeros before and after all."""
    if not all(windows):
        return op.zeros_like(x)
    backward = [axis for axis, w in zip(axes, windows, strict=True) if w.step < 0]
    if backward:
        ones = [-1] * len(backward)
        dy = op.Slice(dy, ones, [-_LAST] * len(backward), backward, ones)
    windows = [w if w.step > 0 else w[::-1] for w in windows]
    steps = {axis: w.step for axis, w in zip(axes, windows, strict=True) if w.step > 1 and len(w) > 1}
    if steps:
        # (.., m, ..) -> (.., m, 1, ..) -> (.., m, step, ..) -> (.., m step, ..)
        inserted = [axis + 1 + sum(other < axis for other in steps) for axis in sorted(steps)]
        extra = [steps[axis] - 1 for axis in sorted(steps)]
        spaced = op.Pad(op.Unsqueeze(dy, inserted), [*[0] * len(extra), *extra], None, inserted)
        length = {axis: len(w) * w.step for axis, w in zip(axes, windows, strict=True)}
        parts = [[length[a]] if a in steps else op.size_of(dy, a) for a in range(op.rank(x))]
        dy = op.Reshape(spaced, op.Concat(*parts, axis=0), allowzero=1)
    before = [w.start for w in windows]
    after = [
        int(op.shape(x)[axis] or 0) - w.start - (len(w) * w.step if axis in steps else len(w))
        for axis, w in zip(axes, windows, strict=True)
    ]
    if not any(before) and not any(after):
        return dy
    return op.Pad(dy, [*before, *after], None, axes)


def _pad_dynamic(op: Emitter, dy: str, x: str, axes: list[int], starts: str) -> str:
    """Step 1 with bounds or sizes that are known at run time only."""
    indices = np.array(axes, np.int64)
    sizes = op.Gather(op.shape_of(x), indices)
    lengths = op.Gather(op.Shape(dy), indices)
    begin = op.Where(op.Less(starts, 0), op.Add(starts, sizes), starts)
    begin = op.Min(op.Max(begin, op.const(0)), sizes)
    return op.Pad(dy, op.Concat(begin, op.Sub(op.Sub(sizes, begin), lengths), axis=0), None, indices)


def _by_index(node: Node, op: Emitter, dy: str) -> str:
    """Anything else: slice the indices of each axis as the node does the elements, and scatter."""
    x = node.inputs[0]
    rank = op.rank(x)
    shape = op.shape_of(x)
    starts, ends = int64(op, node.inputs[1]), int64(op, node.inputs[2])
    given, steps = node.input(3), node.input(4)
    axes = int64(op, given) if given else op.Range(0, op.Squeeze(op.Shape(starts), [0]), 1)
    # One entry per axis of x: an axis that the node does not name is sliced from 0 to its end.
    axes = op.Where(op.Less(axes, 0), op.Add(axes, rank), axes)
    zeros, ones = np.zeros(rank, np.int64), np.ones(rank, np.int64)
    starts = op.ScatterElements(zeros, axes, starts)
    ends = op.ScatterElements(shape, axes, ends)
    steps = op.ScatterElements(ones, axes, int64(op, steps)) if steps else op.const(ones)
    for axis in range(rank):
        bounds = [op.Slice(v, [axis], [axis + 1]) for v in (starts, ends, steps)]
        places = op.Range(0, op.Squeeze(op.size_of(x, axis), [0]), 1)
        chosen = op.Slice(places, bounds[0], bounds[1], [0], bounds[2])
        rest = [op.Shape(dy, start=axis + 1)] if axis + 1 < rank else []
        size = op.Concat(op.shape_of(x, 0, axis + 1), *rest, axis=0)
        dy = scatter_along(op, dy, chosen, size, axis, unique=True)
    return dy


@gradient("Pad", inputs=(0, 2))
def pad(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Constant borders are cut off. In the other modes each border element adds to the one that it copies."""
    pads = node.inputs[1]
    known = op.constant_value(pads)
    if node.attribute("mode", "constant") != "constant":
        return [_copied_border(node, op, dy, known)]
    axes = node.input(3)
    negative = op.Neg(pads) if known is None else op.const(-known.astype(np.int64))
    dx = dy if known is not None and not known.any() else op.Pad(dy, negative, None, axes)
    value = node.input(2)
    if value is None or not node.wants[2]:
        return [dx]
    border = op.Sub(op.ReduceSum(dy, keepdims=0), op.ReduceSum(dx, keepdims=0))
    return [dx if node.wants[0] else None, None, op.reshape_like(border, value)]


def _copied_border(node: Node, op: Emitter, dy: str, known: np.ndarray | None) -> str:
    """Axis by axis: pad the identity matrix (or the indices) as the node pads the elements, and go back along that."""
    x, pads, mode = node.inputs[0], node.inputs[1], node.attribute("mode")
    rank = op.rank(x)
    axes = list(range(rank))
    if node.input(3) is not None:
        constant = op.constant_value(node.inputs[3])
        if constant is None:
            pads, known = op.pads_of_all(pads, node.inputs[3], rank), None
        else:
            axes = [int(axis) % rank for axis in constant]
    for index, axis in enumerate(axes):
        if known is not None:
            before, after = int(known[index]), int(known[index + len(axes)])
            if not before and not after:
                continue
            own = op.const(np.array([before, after], np.int64))
        else:
            own = op.Gather(int64(op, pads), np.array([index, index + len(axes)], np.int64))
        size = op.shape(x)[axis]
        if isinstance(size, int) and size <= _DENSE:
            square = op.ConstantOfShape([size, size], value=op.like_scalar(x, 0))
            matrix = op.Pad(op.EyeLike(square, dtype=op.elem_type(x)), own, None, [0], mode=mode)
            dy = along_axis(op, dy, matrix, axis)
        else:
            places = op.Range(0, op.Squeeze(op.size_of(x, axis), [0]), 1)
            sources = op.Pad(places, own, None, [0], mode=mode)
            outer = [op.Shape(dy, start=0, end=axis)] if axis else []
            inner = [op.Shape(dy, start=axis + 1)] if axis + 1 < rank else []
            shape = op.Concat(*outer, op.size_of(x, axis), *inner, axis=0)
            dy = scatter_along(op, dy, sources, shape, axis)
    return dy


@gradient("Expand", inputs=(0,))
def expand(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.reduce_to(dy, node.inputs[0])]


@gradient("Tile", inputs=(0,))
def tile(node: Node, dy: str, op: Emitter) -> Cotangents:
    """The copies of each axis as an axis of their own, summed."""
    x, repeats = node.inputs
    rank = op.rank(x)
    known = op.constant_value(repeats)
    if known is None:
        pairs = op.Concat(op.Unsqueeze(repeats, [1]), op.Unsqueeze(op.shape_of(x), [1]), axis=1)
        apart = op.Reshape(dy, op.Reshape(pairs, [-1]), allowzero=1)
        return [op.ReduceSum(apart, list(range(0, 2 * rank, 2)), keepdims=0)]
    parts: list[str | list[int]] = []
    copies = []
    for axis in range(rank):
        if known[axis] != 1:
            copies.append(len(parts))
            parts.append([int(known[axis])])
        parts.append(op.size_of(x, axis))
    if not copies:
        return [dy]
    return [op.ReduceSum(op.Reshape(dy, op.Concat(*parts, axis=0), allowzero=1), copies, keepdims=0)]


@gradient("Split", inputs=(0,))
def split(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents:
    parts = [dy or op.zeros_like(y) for dy, y in zip(cotangents, node.outputs, strict=True)]
    return [parts[0] if len(parts) == 1 else op.Concat(*parts, axis=node.attribute("axis", 0))]


@gradient("Concat")
def concat(node: Node, dy: str, op: Emitter) -> Cotangents:
    if len(node.inputs) == 1:
        return [dy]
    axis = node.attribute("axis") % op.rank(node.inputs[0])
    sizes = [op.shape(x)[axis] for x in node.inputs]
    if sum(node.wants) == 1 and all(isinstance(size, int) for size in sizes):
        own = node.wants.index(True)
        ends = np.cumsum([int(size or 0) for size in sizes])
        begin = int(ends[own]) - int(sizes[own] or 0)
        return [None] * own + [op.Slice(dy, [begin], [int(ends[own])], [axis])]
    lengths = op.Concat(*(op.size_of(x, axis) for x in node.inputs), axis=0)
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        parts = (
            parts_of_channels(op, dy, node.outputs[0], known)
            if axis == 1 and node.outputs[0] not in node.asked
            else None
        )
        if parts:
            return parts
        lengths = op.const(np.array(sizes, np.int64))
    return op.emit_several("Split", dy, lengths, axis=axis, outputs=len(node.inputs))


@gradient("CenterCropPad", inputs=(0,))
def center_crop_pad(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Cropping undoes padding and the other way round: both round the odd element to the right."""
    x, axes = node.inputs[0], node.attribute("axes")
    shape = op.shape_of(x) if axes is None else op.Gather(op.shape_of(x), np.array(axes, np.int64) % op.rank(x))
    return [op.CenterCropPad(dy, shape, axes=axes)]


@gradient("Trilu", inputs=(0,))
def trilu(node: Node, dy: str, op: Emitter) -> Cotangents:
    return [op.Trilu(dy, node.input(1), upper=node.attribute("upper", 1))]


@gradient("ReverseSequence", inputs=(0,))
def reverse_sequence(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Its own inverse."""
    axes = {"batch_axis": node.attribute("batch_axis", 1), "time_axis": node.attribute("time_axis", 0)}
    return [op.ReverseSequence(dy, node.inputs[1], **axes)]


@gradient("Range", inputs=(0, 2))
def range_(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y_i = start + i delta; the limit changes only how many there are."""
    places = op.Range(0, op.Size(node.outputs[0]), 1)
    delta = op.ReduceSum(op.Mul(dy, op.Cast(places, to=op.elem_type(dy))), keepdims=0)
    return [op.ReduceSum(dy, keepdims=0), None, delta]
