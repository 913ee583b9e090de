"""Convolution by columns: DeformConv reads them at positions of its own, Col2Im adds them up."""

from __future__ import annotations

import numpy as np

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from .convolution import bias_gradient, channels_of, kernel_of
from .normalization import wide
from .registry import Cotangents, gradient
from .sampling import Reading, extent, taps


@gradient("DeformConv")
def deform_conv(node: Node, dy: str, op: Emitter) -> Cotangents:
    """y = W columns, columns[c, k, o] = mask[k, o] x[c, o * stride + k * dilation - before + offset[k, o]], linearly
    interpolated, zero outside (Dai et al. 2017, arXiv:1703.06211; Zhu et al. 2019, arXiv:1811.11168)."""
    x, w, offset = node.inputs[:3]
    mask = node.input(4)
    kernel = kernel_of(node, op, w)
    count = int(np.prod(kernel))
    group, offset_group = node.attribute("group", 1), node.attribute("offset_group", 1)
    channels = channels_of(node, op, w, 1) * group
    exact = wide(op, x, x)
    batch, places = op.shape_of(x, 0, 1), op.shape_of(dy, 2)
    image = op.Reshape(exact, op.Concat([-1, channels // offset_group], op.shape_of(x, 2), axis=0))

    positions = _positions(node, op, kernel, wide(op, offset, x), places, offset_group)
    sizes = [extent(op, x, 2 + axis, positions[axis]) for axis in range(len(kernel))]
    axes = [taps(op, p, s, "linear", "zeros", True) for p, s in zip(positions, sizes, strict=True)]

    # Columns by group of W: (N, group, C/g * K, P), by offset group (N * og, C/og, K * P).
    weights = op.Reshape(wide(op, w, x), [1, group, -1, channels // group * count])
    d = op.Reshape(wide(op, dy, x), op.Concat(batch, [group, -1], op.ReduceProd(places, [0], keepdims=1), axis=0))
    d_columns = op.MatMul(op.Transpose(weights, perm=[0, 1, 3, 2]), d)
    by_offset = [-1, channels // offset_group, count]
    d_read = op.Reshape(d_columns, op.Concat(by_offset, op.ReduceProd(places, [0], keepdims=1), axis=0))
    modulation = None
    if mask:
        modulation = op.Reshape(wide(op, mask, x), op.Concat([-1, 1, count], op.shape_of(d_read, 3), axis=0))

    reading = Reading.of(op, image, axes)
    modulated = op.Reshape(op.Mul(d_read, modulation) if modulation else d_read, [0, 0, -1])
    wants = [*node.wants, False, False, False][:5]
    result: list[str | None] = [None] * 5
    if wants[0]:
        result[0] = op.cast(op.reshape_like(reading.gradient_of_x(modulated), x), x)
    if wants[2]:
        moves = reading.gradient_of_positions(modulated)
        stacked = op.Concat(*[op.Unsqueeze(op.Reshape(m, [0, count, -1]), [2]) for m in moves], axis=2)
        result[2] = op.cast(op.reshape_like(stacked, offset), offset)
    if wants[1] or (mask and wants[4]):
        read = op.reshape_like(reading.interpolated(d_read), d_read)
        if mask and wants[4]:
            result[4] = op.cast(op.reshape_like(op.ReduceSum(op.Mul(read, d_read), [1], keepdims=0), mask), mask)
        columns = op.Mul(read, modulation) if modulation else read
        columns = op.Reshape(columns, op.Concat(batch, [group, channels // group * count, -1], axis=0))
        dw = op.ReduceSum(op.MatMul(d, op.Transpose(columns, perm=[0, 1, 3, 2])), [0], keepdims=0)
        result[1] = op.cast(op.reshape_like(dw, w), w)
    if wants[3]:
        result[3] = bias_gradient(op, dy)
    return result


def _positions(node: Node, op: Emitter, kernel: list[int], offset: str, places: str, offset_group: int) -> list[str]:
    """Per spatial axis the positions (N * offset_group, K * P) that taps read, in the order (k, o)."""
    spatial, count = len(kernel), int(np.prod(kernel))
    strides = node.attribute("strides") or [1] * spatial
    dilations = node.attribute("dilations") or [1] * spatial
    pads = node.attribute("pads") or [0] * 2 * spatial
    moved = op.Reshape(offset, op.Concat([-1, count, spatial], places, axis=0))
    dtype = op.dtype(offset)
    offsets_of_taps = np.indices(kernel).reshape(spatial, count)
    result = []
    for i in range(spatial):
        windows = op.cast(
            op.Range(np.int64(0), op.Squeeze(op.Slice(places, [i], [i + 1], [0]), [0]), np.int64(1)), offset
        )
        start = op.Sub(op.Mul(windows, float(strides[i])), float(pads[i]))
        trailing = spatial - 1 - i
        start = op.Unsqueeze(start, list(range(1, 1 + trailing))) if trailing else start
        tap = (offsets_of_taps[i] * dilations[i]).astype(dtype).reshape(count, *[1] * spatial)
        here = op.Add(op.Add(op.Gather(moved, i, axis=2), tap), start)
        result.append(op.Reshape(here, [0, -1]))
    return result


@gradient("Col2Im", inputs=[0])
def col2im(node: Node, dy: str, op: Emitter) -> Cotangents:
    """Columns (N, C * K, L) are added up to images (N, C, *sizes): backward, each block is read back to its column.

    A convolution of each channel with K filters of a single 1 reads the blocks.
    """
    x, _, block = node.inputs[:3]
    count = op.ReduceProd(block, [0], keepdims=1)
    identity = op.EyeLike(op.ConstantOfShape(op.Concat(count, count, axis=0)), dtype=op.elem_type(dy))
    filters = op.Reshape(identity, op.Concat([-1, 1], block, axis=0))
    channels = op.Reshape(dy, op.Concat([-1, 1], op.shape_of(dy, 2), axis=0))
    attributes = {name: node.attribute(name) for name in ("strides", "dilations", "pads")}
    return [op.reshape_like(op.Conv(channels, filters, **attributes), x)]
