"""Pools over regions of interest: RoiAlign and MaxRoiPool.

Only the image gets a gradient. The regions come from box regression and suppression, whose arguments PyTorch and
TensorFlow take for constants here as well; a box moves the output through the sampling positions, which the frameworks'
own gradients leave out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .normalization import wide
from .pooling import tensor
from .registry import Cotangents, gradient
from .sampling import extent


@dataclass(frozen=True)
class Samples:
    """Where the bins of every region read along one axis: (regions, bins, samples)."""

    position: str  # clipped to the image
    used: str  # boolean: the region has so many samples
    inside: str  # 1 or 0: beyond the image, zeros are read
    share: str  # (regions, 1, 1): one over the number of samples of a bin


def _samples(node: Node, op: Emitter, rois: str, axis: int, size: str) -> Samples:
    """The samples along the height (`axis` 0) or the width (1); `rois` are x1, y1, x2, y2 in image coordinates."""
    bins = node.attribute("output_width" if axis else "output_height", 1)
    ratio = node.attribute("sampling_ratio", 0)
    half_pixel = node.attribute("coordinate_transformation_mode", "half_pixel") == "half_pixel"

    def edge(column: int) -> str:
        scaled = op.Mul(op.Gather(rois, [column], axis=1), node.attribute("spatial_scale", 1.0))
        return op.Sub(scaled, 0.5) if half_pixel else scaled

    start, end = edge(1 - axis), edge(3 - axis)
    length = op.Sub(end, start)
    if not half_pixel:
        length = op.Max(length, 1.0)
    step = op.Unsqueeze(op.Div(length, float(bins)), [2])
    if ratio > 0:
        count, most = op.full_like(step, ratio), op.const(np.array(ratio, np.int64))
    else:
        count = op.Ceil(step)
        most = op.Cast(op.Max(op.ReduceMax(count, keepdims=0), 1.0), to=TensorProto.INT64)
    index = op.cast(op.Range(np.int64(0), most, np.int64(1)), rois)
    bin_start = op.Mul(np.arange(bins, dtype=op.dtype(rois))[:, None], step)
    at_least_one = op.Max(count, 1.0)
    within = op.Div(op.Mul(op.Add(index, 0.5), step), at_least_one)
    position = op.Add(op.Add(op.Unsqueeze(start, [2]), bin_start), within)
    inside = op.And(op.GreaterOrEqual(position, -1.0), op.LessOrEqual(position, size))
    clipped = op.Min(op.Max(position, 0.0), op.Sub(size, 1.0))
    return Samples(clipped, op.Less(index, count), op.cast(inside, rois), op.Reciprocal(at_least_one))


@gradient("RoiAlign", inputs=[0])
def roi_align(node: Node, dy: str, op: Emitter) -> Cotangents:
    """He et al. 2017, arXiv:1703.06870. The average of the samples of a bin; under "max" the largest of the weighted
    corners of all samples, which is what the operator computes."""
    x = node.inputs[0]
    rois, batch = wide(op, node.inputs[1], x), op.Cast(node.inputs[2], to=TensorProto.INT64)
    sizes = [extent(op, x, 2 + axis, rois) for axis in (0, 1)]
    samples = [_samples(node, op, rois, axis, sizes[axis]) for axis in (0, 1)]
    d = wide(op, dy, x)
    if node.attribute("mode", "avg") == "avg":
        return [op.cast(_average(op, d, batch, samples, x), x)]
    bins = [_corners(op, s, size) for s, size in zip(samples, sizes, strict=True)]
    return [op.cast(_maximum(op, d, batch, bins, x), x)]


def _average(op: Emitter, dy: str, batch: str, samples: list[Samples], x: str) -> str:
    """y = A X B^T for each region, with matrices (bin, position) of interpolation weights: dX = sum of A^T dy B."""
    matrices = []
    for axis, s in enumerate(samples):
        size = op.Squeeze(op.shape_of(x, 2 + axis, 3 + axis), [0])
        places = op.cast(op.Range(np.int64(0), size, np.int64(1)), dy)
        distance = op.Abs(op.Sub(op.Unsqueeze(s.position, [3]), places))
        weight = op.Mul(op.Mul(op.cast(s.used, dy), s.inside), s.share)
        hat = op.Mul(op.Max(op.Sub(1.0, distance), 0.0), op.Unsqueeze(weight, [3]))
        matrices.append(op.ReduceSum(hat, [2], keepdims=0))
    rows = op.MatMul(dy, op.Unsqueeze(matrices[1], [1]))
    rows = op.Reshape(op.Transpose(rows, perm=[0, 2, 1, 3]), op.Concat([-1], _product(op, x, [1, 3]), axis=0))
    # One product sums over regions and bins; a region counts for its own image only.
    count = op.Squeeze(op.shape_of(x, 0, 1), [0])
    images = op.Unsqueeze(op.Range(np.int64(0), count, np.int64(1)), [1])
    own = op.cast(op.Equal(images, batch), dy)
    columns = op.Transpose(matrices[0], perm=[2, 0, 1])
    columns = op.Mul(op.Unsqueeze(own, [1, 3]), columns)
    columns = op.Reshape(columns, op.Concat(_product(op, x, [0, 2]), [-1], axis=0))
    order = op.Gather(op.shape_of(x), [0, 2, 1, 3])
    return op.Transpose(op.Reshape(op.MatMul(columns, rows), order), perm=[0, 2, 1, 3])


def _product(op: Emitter, x: str, axes: list[int]) -> str:
    return op.ReduceProd(op.Gather(op.shape_of(x), axes), [0], keepdims=1)


@dataclass(frozen=True)
class Candidates:
    """What a bin takes the largest of, along one axis: (regions, bins, candidates); `counts`: whether it is one."""

    index: str
    weight: str | None
    counts: str


def _corners(op: Emitter, s: Samples, size: str) -> Candidates:
    low = op.Floor(s.position)
    high = op.Min(op.Add(low, 1.0), op.Sub(size, 1.0))
    part = op.Sub(s.position, low)
    weight = op.Mul(op.Concat(op.Sub(1.0, part), part, axis=2), op.Concat(s.inside, s.inside, axis=2))
    index = op.Cast(op.Concat(low, high, axis=2), to=TensorProto.INT64)
    return Candidates(index, weight, op.Concat(s.used, s.used, axis=2))


def _maximum(op: Emitter, dy: str, batch: str, bins: list[Candidates], x: str) -> str:
    """dy (regions, channels, bins, bins) to the first candidate with the largest weighted value."""
    down, across = bins
    width = op.Squeeze(op.shape_of(x, 3, 4), [0])
    area = op.ReduceProd(op.shape_of(x, 2), [0], keepdims=0)

    def both(first: str, second: str, join: str) -> str:
        """(regions, bins, bins, candidates of both), or 1 for bins that are all alike"""
        joined = op.emit(join, op.Unsqueeze(first, [2, 4]), op.Unsqueeze(second, [1, 3]))
        return op.Reshape(joined, [0, 0, 0, -1])

    index = both(op.Mul(down.index, width), across.index, "Add")
    index = op.Add(index, op.Unsqueeze(op.Mul(batch, area), [1, 2, 3]))
    counts = both(down.counts, across.counts, "And")
    rows = op.Reshape(op.Transpose(wide(op, x, x), perm=[0, 2, 3, 1]), op.Concat([-1], op.shape_of(x, 1, 2), axis=0))
    values = op.Gather(rows, index, axis=0)
    weight = None
    if down.weight is not None and across.weight is not None:
        weight = op.Unsqueeze(both(down.weight, across.weight, "Mul"), [4])
        values = op.Mul(values, weight)
    lowest = float(np.finfo(np.float32).min)
    best = op.ArgMax(op.Where(op.Unsqueeze(counts, [4]), values, lowest), axis=3, keepdims=1)
    turned = op.Unsqueeze(op.Transpose(dy, perm=[0, 2, 3, 1]), [3])
    some = op.cast(op.Unsqueeze(op.ReduceMax(op.Cast(counts, to=TensorProto.INT32), [3], keepdims=1), [4]), dy)
    updates = op.Mul(turned, some)
    if weight is not None:
        updates = op.Mul(updates, _pick(op, weight, best))
    channels = op.Squeeze(op.shape_of(x, 1, 2), [0])
    chosen = op.Mul(_pick(op, op.Unsqueeze(index, [4]), best), channels)
    flat = op.Add(chosen, op.Range(np.int64(0), channels, np.int64(1)))
    zeros = op.ConstantOfShape(op.ReduceProd(op.shape_of(x), [0], keepdims=1), value=tensor(np.zeros(1, op.dtype(dy))))
    summed = op.ScatterElements(zeros, op.Reshape(flat, [-1]), op.Reshape(updates, [-1]), axis=0, reduction="add")
    return op.Transpose(op.Reshape(summed, op.Gather(op.shape_of(x), [0, 2, 3, 1])), perm=[0, 3, 1, 2])


def _pick(op: Emitter, values: str, best: str) -> str:
    """`values` (..., candidates, 1) at `best` (..., 1, channels)."""
    channels = op.shape_of(best, 4, 5)
    wide_values = op.Expand(values, op.Concat(np.ones(4, np.int64), channels, axis=0))
    return op.GatherElements(wide_values, best, axis=3)


@gradient("MaxRoiPool", inputs=[0])
def max_roi_pool(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Girshick 2015, arXiv:1504.08083: the largest value of each bin of whole positions; empty bins give nothing."""
    x = node.inputs[0]
    rois = wide(op, node.inputs[1], x)
    batch = op.Cast(op.Gather(rois, np.int64(0), axis=1), to=TensorProto.INT64)
    bins = [_whole_positions(node, op, rois, axis, extent(op, x, 2 + axis, rois)) for axis in (0, 1)]
    return [op.cast(_maximum(op, wide(op, dy, x), batch, bins, x), x)]


def _whole_positions(node: Node, op: Emitter, rois: str, axis: int, size: str) -> Candidates:
    """`rois` are the image's number, then x1, y1, x2, y2, both ends included."""
    bins = node.attribute("pooled_shape")[axis]

    def edge(column: int) -> str:
        # Half a step is rounded away from zero.
        scaled = op.Mul(op.Gather(rois, [column], axis=1), node.attribute("spatial_scale", 1.0))
        return op.Mul(op.Sign(scaled), op.Floor(op.Add(op.Abs(scaled), 0.5)))

    start, end = edge(2 - axis), edge(4 - axis)
    step = op.Div(op.Max(op.Add(op.Sub(end, start), 1.0), 1.0), float(bins))
    numbers = np.arange(bins + 1, dtype=op.dtype(rois))
    low = op.Min(op.Max(op.Add(op.Floor(op.Mul(step, numbers[:-1])), start), 0.0), size)
    high = op.Min(op.Max(op.Add(op.Ceil(op.Mul(step, numbers[1:])), start), 0.0), size)
    most = op.Cast(op.Max(op.ReduceMax(op.Sub(high, low), keepdims=0), 1.0), to=TensorProto.INT64)
    place = op.Add(op.Unsqueeze(low, [2]), op.cast(op.Range(np.int64(0), most, np.int64(1)), rois))
    counts = op.Less(place, op.Unsqueeze(high, [2]))
    index = op.Cast(op.Min(place, op.Sub(size, 1.0)), to=TensorProto.INT64)
    return Candidates(index, None, counts)
