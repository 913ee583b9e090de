"""Conv and ConvTranspose: gradients with respect to the input, the weights and the bias.

With the windows of `windows.py`, y[o] = sum_k w[k] x[o * stride + k * dilation - before] along every spatial axis, so

    dx[i] = sum over (o, k) with o * stride + k * dilation - before = i of w[k] dy[o]     a transposed convolution
    dw[k] = sum_o dy[o] x[o * stride + k * dilation - before]                             a convolution of x with dy in
                                                                which stride and dilation have changed places

ConvTranspose is the first line read backwards: the same two sums with x and dy exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from ..errors import ShapeError
from ..proto.nodes import DOMAIN_NAMES, reads
from ..proto.values import tensor_type
from .registry import Cotangents, gradient
from .windows import Axis, crop, pad_or_crop_input, padded, padding_before, to_blocks, windows

DataForm: TypeAlias = Literal["flipped", "transposed", "upsampled"]
_FEW_CHANNELS = 8
_BLOCK, _MOST_PARTS = 16, 4
# Positions of a mask that is stored as a constant; larger ones are computed at run time.
_LARGEST_MASK = 1 << 18


def data_form(axes: Sequence[Axis], channels: int, group: int, depthwise: bool, target: str = "cpu") -> DataForm:
    """How the gradient with respect to the input of a convolution is computed.

    flipped      Conv with the weights flipped in space and input and output channels exchanged; stride 1 only. On the
                 CPU as fast as the forward convolution, and it keeps ONNX Runtime's blocked layout.
    transposed   ConvTranspose with the weights as they are. On the CPU 1.1 to 1.4 times the forward convolution where
                 it is dense, 5 to 10 times where it is depthwise. Ahead of "flipped" below 8 input channels (stems).
    upsampled    the cotangent spread out by a nearest Resize times a 0/1 mask, then as "flipped": for strided depthwise
                 convolutions, 1.1 to 3 times faster than "transposed".

        stride   depthwise   input channels   target   form
        any      any         any              cuda     transposed (cuDNN has a kernel of its own for it)
        1        no          < 8              cpu      transposed
        1        no          >= 8             cpu      flipped
        1        yes         any              cpu      flipped
        > 1      no          any              cpu      transposed
        > 1      yes         any              cpu      upsampled; transposed if the padding depends on unknown sizes
    """
    if target == "cuda":
        return "transposed"
    if all(axis.stride == 1 for axis in axes):
        return "flipped" if depthwise or channels >= _FEW_CHANNELS else "transposed"
    known = all(axis.before is not None for axis in axes)
    return "upsampled" if depthwise and known else "transposed"


@gradient("Conv")
def conv(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, w = node.inputs[:2]
    group = node.attribute("group", 1)
    axes = windows(node, op, x, dy, kernel_of(node, op, w))
    result: list[str | None] = [None, None, None]
    if node.wants[0]:
        result[0] = scatter_windows(node, op, dy, w, x, axes, group)
    if node.wants[1]:
        result[1] = weight_gradient(node, op, x, dy, w, axes, group)
    if len(node.wants) > 2 and node.wants[2]:
        result[2] = bias_gradient(op, dy)
    return result


@gradient("ConvTranspose")
def conv_transpose(node: Node, dy: str, op: Emitter) -> Cotangents:
    x, w = node.inputs[:2]
    group = node.attribute("group", 1)
    axes = transposed_windows(node, op, x, dy, kernel_of(node, op, w))
    result: list[str | None] = [None, None, None]
    if node.wants[0]:
        result[0] = gather_windows(node, op, dy, w, x, axes, group)
    if node.wants[1]:
        result[1] = weight_gradient(node, op, dy, x, w, axes, group, node.attribute("output_padding"))
    if len(node.wants) > 2 and node.wants[2]:
        result[2] = bias_gradient(op, dy)
    return result


def kernel_of(node: Node, op: Emitter, w: str) -> list[int]:
    """The spatial sizes of the weights."""
    sizes = op.shape(w)[2:]
    known = [d for d in sizes if isinstance(d, int)]
    given = node.attribute("kernel_shape") or known
    if len(given) < len(sizes):
        raise ShapeError(f"the kernel size of {node.op_type} {node.label!r} cannot be known: its weights are computed")
    return list(given)


def channels_of(node: Node, op: Emitter, name: str, axis: int) -> int:
    size = op.shape(name)[axis]
    if not isinstance(size, int):
        raise ShapeError(f"the channels of {name!r}, read by {node.op_type} {node.label!r}, cannot be known")
    return size


def bias_gradient(op: Emitter, dy: str) -> str:
    return op.ReduceSum(dy, [0, *range(2, op.rank(dy))], keepdims=0)


def scatter_windows(node: Node, op: Emitter, dy: str, w: str, x: str, axes: Sequence[Axis], group: int) -> str:
    """dx[i] = sum of w[k] dy[o] over the windows `o` and taps `k` that read position `i`, in the shape of `x`."""
    per_group = channels_of(node, op, w, 1)
    form = data_form(axes, per_group * group, group, depthwise=per_group == 1 and group > 1)
    if form == "transposed":
        return to_blocks(op, _transposed(node, op, dy, w, x, axes, group))
    if form == "upsampled":
        dy = _spread(op, dy, [axis.stride for axis in axes])
    pads = [[], []]  # type: list[list[int]]
    for axis in axes:
        before, after, last = _paddings(axis)
        pads[0].append(axis.extent - 1 - before)
        if form == "flipped" or axis.stride == 1:
            pads[1].append(axis.extent - 1 - after)
        elif last is None:
            pads[1].append(max(axis.extent - 1 - after, 0))
        else:
            pads[1].append(last)
    dy, fitting = pad_or_crop_input(op, dy, pads[0] + pads[1])
    flipped = flip_and_swap(op, w, per_group, group, [a.kernel for a in axes])
    dilations = [axis.dilation for axis in axes]
    dx = op.Conv(dy, flipped, pads=fitting, dilations=dilations, group=group, kernel_shape=[a.kernel for a in axes])
    return dx if form == "flipped" else crop(op, dx, x)


def _paddings(axis: Axis) -> tuple[int, int, int | None]:
    """Padding before and after, and the padding that the spread-out cotangent needs at its end, None if unknown."""
    assert axis.before is not None
    assert axis.after is not None
    if axis.size is None or axis.count is None:
        return axis.before, axis.after, None
    return axis.before, axis.after, axis.size - axis.count * axis.stride + axis.before


def _spread(op: Emitter, dy: str, strides: Sequence[int]) -> str:
    """`stride - 1` zeros after each position, along each spatial axis.

    The Reshape to the shape that the product has anyway gives the batch size its name back, which shape inference loses
    at a Resize: by it the runtime knows that what comes after has the shape of the maps that it is multiplied by.
    """
    wide = op.Resize(
        dy,
        None,
        np.array([1, 1, *strides], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    pattern = np.zeros((1, 1, *strides), op.dtype(dy))
    pattern[(0,) * pattern.ndim] = 1
    batch, channels, *spatial = op.shape(dy)
    sizes = [d * s if isinstance(d, int) else 0 for d, s in zip(spatial, strides, strict=True)]
    if not 0 < np.prod(sizes) <= _LARGEST_MASK or not isinstance(channels, int):
        return op.Mul(wide, op.Tile(pattern, op.Concat(np.ones(2, np.int64), op.shape_of(dy, 2), axis=0)))
    repeats = [size // stride for size, stride in zip(sizes, strides, strict=True)]
    spread = op.Mul(wide, np.tile(pattern, (1, 1, *repeats)))
    if not isinstance(batch, int):
        spread = op.Reshape(spread, op.Concat(op.size_of(dy, 0), [channels, *sizes], axis=0))
    op.set_type(spread, tensor_type(op.elem_type(dy), (batch, channels, *sizes)))
    return spread


def _transposed(node: Node, op: Emitter, dy: str, w: str, x: str, axes: Sequence[Axis], group: int) -> str:
    if any(axis.before is None for axis in axes):
        longer = [max(axis.stride - axis.extent, 0) for axis in axes]
        full = op.ConvTranspose(dy, w, output_padding=longer, group=group, **_steps(axes))
        return crop(op, full, x, padding_before(node, op, x, dy, axes))
    # Where sizes are open, so is what the last window leaves over: make room for the most, cut to size.
    longer = [axis.stride - 1 if axis.rest is None else axis.rest for axis in axes]
    # ONNX Runtime has no ConvTranspose on CUDA whose padding differs between the ends: what is more at one is cut off.
    less = [min(a.before or 0, a.after or 0) for a in axes]
    dx = op.ConvTranspose(dy, w, pads=less + less, output_padding=longer, group=group, **_steps(axes))
    begin = [(a.before or 0) - both for a, both in zip(axes, less, strict=True)]
    if any(begin):
        return crop(op, dx, x, begin)
    more = any((a.after or 0) > both for a, both in zip(axes, less, strict=True))
    return crop(op, dx, x) if more or any(a.rest is None and a.stride > 1 for a in axes) else dx


def flip_and_swap(op: Emitter, w: str, per_group: int, group: int, kernel: Sequence[int]) -> str:
    """(M, C/g, *kernel) -> (C, M/g, *kernel), reversed in space.

    Emitted as nodes: of constant weights the runtime makes constants when it opens the model, so that the file does not
    carry the weights twice.
    """
    taps = int(np.prod(kernel))
    split = op.Reshape(w, [group, -1, per_group, taps])
    if taps == 1:
        swapped = op.Transpose(split, perm=[0, 2, 1, 3])
    else:
        # Reversing a leading axis moves whole blocks; the last axes would be moved number by number.
        front = op.Transpose(split, perm=[3, 0, 2, 1])
        swapped = op.Transpose(op.Gather(front, list(range(taps - 1, -1, -1)), axis=0), perm=[1, 2, 3, 0])
    return op.Reshape(swapped, [group * per_group, -1, *kernel])


def parts_of_channels(op: Emitter, dy: str, y: str, sizes: Sequence[int]) -> list[str] | None:
    """The channels of `dy`, the cotangent of `y`, in parts of these sizes, if a Conv of the gradient makes it and
    nothing else reads it: a Conv for each part.

    As much arithmetic as the one Conv, and on the CPU the parts stay in ONNX Runtime's blocked layout; Split leaves it.
    """
    maker = op.producer(dy)
    if maker is None or op.known_types.producer(dy) is not None or not _is_plain_conv(maker):
        return None
    readers = [node.op_type for node in op.known_types.nodes if y in reads(node)]
    if readers != ["Conv"]:
        return None  # sums pass one cotangent on to several values
    made = Node(maker)
    fits = op.rank(dy) == 4 and op.elem_type(dy) == TensorProto.FLOAT and made.attribute("group", 1) == 1
    if not fits or len(sizes) > _MOST_PARTS or any(size % _BLOCK for size in sizes):
        return None
    x, w = made.inputs
    steps = {name: made.attribute(name) for name in ("kernel_shape", "pads", "strides", "dilations")}
    ends = [int(end) for end in np.cumsum(sizes)]
    filters = [op.Slice(w, [end - size], [end], [0]) for size, end in zip(sizes, ends, strict=True)]
    return [op.Conv(x, part, **steps) for part in filters]


def _is_plain_conv(node: NodeProto) -> bool:
    """Whether the rule for Conv may have made it: with what `parts_of_channels` hands on, and nothing else."""
    known = {"kernel_shape", "pads", "strides", "dilations", "group"}
    plain = node.op_type == "Conv" and node.domain in DOMAIN_NAMES and len(node.input) == 2
    return plain and all(attribute.name in known for attribute in node.attribute)


def gather_windows(node: Node, op: Emitter, dy: str, w: str, x: str, axes: Sequence[Axis], group: int) -> str:
    """dx[o] = sum_k w[k] dy[o * stride + k * dilation - before], in the shape of `x`."""
    longer = node.attribute("output_padding") or [0] * len(axes)
    dy, pads = padded(node, op, dy, x, axes, longer)
    dx = op.Conv(dy, w, pads=pads, group=group, **_steps(axes))
    # Positions that output_padding adds may make room for windows that the forward pass did not have.
    rests = [more if axis.rest is None else axis.rest for axis, more in zip(axes, longer, strict=True)]
    exact = all(rest < axis.stride and axis.before is not None for rest, axis in zip(rests, axes, strict=True))
    return dx if exact and not node.attribute("output_shape") else crop(op, dx, x)


def weight_gradient(
    node: Node,
    op: Emitter,
    read: str,
    count: str,
    w: str,
    axes: Sequence[Axis],
    group: int,
    extra: Sequence[int] | None = None,
) -> str:
    """dw[m, c, k] = sum over samples and windows of count[m, o] read[c, o * stride + k * dilation - before].

    A convolution whose batch are the channels of `read` and whose channels are the samples; with groups, channels
    (group, sample). Windows at the end that the forward pass left out give taps beyond the kernel: cut off.
    """
    read, pads = padded(node, op, read, count, axes, extra)
    spatial = list(range(2, 2 + len(axes)))
    if group == 1:
        samples = op.Transpose(read, perm=[1, 0, *spatial])
    else:
        per_group = channels_of(node, op, w, 1)
        sizes = op.shape_of(read, 2)
        split = op.Reshape(read, op.Concat([-1, group, per_group], sizes, axis=0))
        split = op.Transpose(split, perm=[2, 1, 0, *[3 + i for i in range(len(axes))]])
        samples = op.Reshape(split, op.Concat([per_group, -1], sizes, axis=0))
    kernels = op.Transpose(count, perm=[1, 0, *spatial])
    strides, dilations = [a.dilation for a in axes], [a.stride for a in axes]
    dw = op.Conv(samples, kernels, strides=strides, dilations=dilations, pads=pads, group=group)
    if any((a.stride > 1 if a.rest is None else a.rest >= a.dilation) for a in axes):
        dw = op.Slice(dw, [0] * len(axes), [a.kernel for a in axes], spatial)
    return op.Transpose(dw, perm=[1, 0, *spatial])


def _steps(axes: Sequence[Axis]) -> dict[str, list[int]]:
    return {
        "kernel_shape": [a.kernel for a in axes],
        "strides": [a.stride for a in axes],
        "dilations": [a.dilation for a in axes],
    }


def transposed_windows(node: Node, op: Emitter, x: str, dy: str, kernel: Sequence[int]) -> list[Axis]:
    """The windows of a ConvTranspose: `dy` has the positions that they read, `x` one position per window."""
    axes = windows(node, op, dy, x, kernel)
    asked = node.attribute("output_shape") or []
    mode = node.attribute("auto_pad", "NOTSET")
    if not asked and not mode.startswith("SAME"):
        return axes
    longer = node.attribute("output_padding") or [0] * len(kernel)
    result = []
    for axis, more in zip(axes, longer, strict=True):
        size = asked[len(asked) - len(kernel) + axis.index] if asked else None
        total = more + axis.extent - axis.stride
        if size is not None:
            total = None if axis.count is None else total + axis.count * axis.stride - size
        if total is None:
            result.append(replace(axis, before=None, after=None))
            continue
        less = max(total, 0) // 2
        more_ = max(total, 0) - less
        before, after = (less, more_) if mode == "SAME_UPPER" else (more_, less)
        result.append(replace(axis, before=before, after=after))
    return result
