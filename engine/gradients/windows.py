"""Windows of convolutions and pools along each spatial axis, also where sizes are known at run time only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node

_BLOCK = 16
# Entries of a matrix of windows and positions that is stored as a constant; larger ones are computed at run time.
_MOST_STORED = 1 << 24


@dataclass(frozen=True)
class Axis:
    """One spatial axis: window `o` reads the positions `o * stride + k * dilation - before` for k < kernel.

    index   which spatial axis (axis `2 + index` of the tensor)
    size    of the side that is read, `count` the number of windows; None where only a run knows it
    before  padding before the first position, `after` behind the last; None: SAME padding of a size not known yet
    """

    index: int
    kernel: int
    stride: int
    dilation: int
    size: int | None
    count: int | None
    before: int | None
    after: int | None

    @property
    def extent(self) -> int:
        """Positions from the first to the last tap of a window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def rest(self) -> int | None:
        """Positions at the end (padding included) that no window reaches."""
        if None in (self.size, self.count, self.before, self.after):
            return None
        return self.size + self.before + self.after - (self.count - 1) * self.stride - self.extent  # type: ignore[operator]


def windows(node: Node, op: Emitter, read: str, made: str, kernel: Sequence[int]) -> list[Axis]:
    """The windows of a Conv or pool `node` that reads the spatial axes of `read` and makes those of `made`."""
    count = len(kernel)
    strides = node.attribute("strides") or [1] * count
    dilations = node.attribute("dilations") or [1] * count
    pads = node.attribute("pads") or [0] * (2 * count)
    mode = node.attribute("auto_pad", "NOTSET")
    sizes = [d if isinstance(d, int) else None for d in op.shape(read)[2:]]
    counts = [d if isinstance(d, int) else None for d in op.shape(made)[2:]]
    axes = []
    for i in range(count):
        extent = (kernel[i] - 1) * dilations[i] + 1
        before, after = same_padding(mode, sizes[i], extent, strides[i])
        if mode == "NOTSET":
            before, after = pads[i], pads[i + count]
        axes.append(Axis(i, kernel[i], strides[i], dilations[i], sizes[i], counts[i], before, after))
    return axes


def same_padding(mode: str, size: int | None, extent: int, stride: int) -> tuple[int | None, int | None]:
    """Padding before and after under `auto_pad`; (None, None) where it depends on a size that is not known."""
    if not mode.startswith("SAME"):
        return 0, 0
    if stride == 1:
        total = extent - 1
    elif size is None:
        return None, None
    else:
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def padding_before(
    node: Node, op: Emitter, read: str, count: str, axes: Sequence[Axis], extra: Sequence[int] | None = None
) -> str:
    """The padding before each spatial axis as an int64 vector, computed at run time where it has to be.

    `read` is the side that windows read, `count` that with one position per window; their shapes settle the padding,
    with what ConvTranspose adds as output_padding (`extra`).
    """
    if all(axis.before is not None for axis in axes):
        return op.const(np.array([axis.before for axis in axes], np.int64))
    total = op.Max(_uncovered(op, read, count, axes, extra), np.zeros(len(axes), np.int64))
    if node.attribute("auto_pad") != "SAME_UPPER":
        total = op.Add(total, [1])
    return op.Div(total, [2])


def _uncovered(op: Emitter, read: str, count: str, axes: Sequence[Axis], extra: Sequence[int] | None = None) -> str:
    """How much longer than `read` the row of windows is, without padding, per spatial axis."""
    strides = np.array([axis.stride for axis in axes], np.int64)
    add = np.array([axis.extent for axis in axes], np.int64) - strides + np.array(extra or 0, np.int64)
    return op.Sub(op.Add(op.Mul(op.shape_of(count, 2), strides), add), op.shape_of(read, 2))


def padded(
    node: Node, op: Emitter, read: str, count: str, axes: Sequence[Axis], extra: Sequence[int] | None = None
) -> tuple[str, list[int]]:
    """`read` and the `pads` to convolve it with; padded already, with pads of 0, where only a run knows them."""
    if all(axis.before is not None for axis in axes):
        return read, [a.before or 0 for a in axes] + [a.after or 0 for a in axes]
    before = padding_before(node, op, read, count, axes, extra)
    none = np.zeros(len(axes), np.int64)
    after = op.Max(op.Sub(_uncovered(op, read, count, axes), before), none)
    amounts = op.Concat(np.zeros(2, np.int64), before, np.zeros(2, np.int64), after, axis=0)
    return op.Pad(read, amounts), [0] * (2 * len(axes))


def crop(op: Emitter, value: str, like: str, begin: str | Sequence[int] | None = None) -> str:
    """`value` cut to the spatial sizes of `like`, starting at `begin` (int64, one per spatial axis; default 0)."""
    sizes = op.shape(like)[2:]
    if begin is None and None not in sizes and op.shape(value)[2:] == sizes:
        return value
    spatial = op.rank(value) - 2
    start = [0] * spatial if begin is None else begin
    end = op.shape_of(like, 2) if begin is None else op.Add(op.shape_of(like, 2), start)
    return op.Slice(value, start, end, list(range(2, 2 + spatial)))


def to_blocks(op: Emitter, value: str) -> str:
    """`value`, through a pool over single positions.

    For the sake of ONNX Runtime on the CPU: it keeps convolutions, and sums and products between them, in a blocked
    layout, which it enters at a convolution or a pool only. A cotangent that comes from elsewhere would drag everything
    that it is added to out of that layout, block after block of a residual network, down to the input.
    """
    shape = op.shape(value)
    channels = shape[1] if len(shape) == 4 else None
    if not isinstance(channels, int) or channels % _BLOCK or op.elem_type(value) != TensorProto.FLOAT:
        return value
    return op.AveragePool(value, kernel_shape=[1, 1])


def pad_or_crop_input(op: Emitter, value: str, pads: Sequence[int]) -> tuple[str, list[int]]:
    """A convolution's input and pads for `pads` that may be negative: negative ones are cut off the input instead."""
    spatial = len(pads) // 2
    low, high = pads[:spatial], pads[spatial:]
    axes = [i for i in range(spatial) if low[i] < 0 or high[i] < 0]
    if axes:
        starts = [max(-low[i], 0) for i in axes]
        ends = [min(high[i], 0) or np.iinfo(np.int64).max for i in axes]
        value = op.Slice(value, starts, ends, [2 + i for i in axes])
    return value, [max(p, 0) for p in pads]


def membership(node: Node, op: Emitter, read: str, count: str, axes: Sequence[Axis]) -> list[str]:
    """Per axis the matrix (window, position) that is 1 where the window reads the position, in the type of `read`."""
    return [op.cast(_reads(node, op, read, count, axes, i, 0, 0), read) for i in range(len(axes))]


def _reads(
    node: Node, op: Emitter, read: str, count: str, axes: Sequence[Axis], i: int, before: int, after: int
) -> str:
    """As `membership` for one axis, boolean, with so many positions before and after those of `read` as well."""
    axis = axes[i]
    if (
        axis.size is not None
        and axis.count is not None
        and axis.before is not None
        and (axis.size + before + after) * axis.count <= _MOST_STORED
    ):
        place = np.arange(-before, axis.size + after) + axis.before - axis.stride * np.arange(axis.count)[:, None]
        return op.const((place >= 0) & (place < axis.extent) & (place % axis.dilation == 0))
    one = np.int64(1)
    first = op.Squeeze(op.Slice(padding_before(node, op, read, count, axes), [i], [i + 1]), [0])
    positions = op.Range(np.int64(-before), op.Add(_length(op, read, i), np.int64(after)), one)
    starts = op.Mul(op.Range(np.int64(0), _length(op, count, i), one), np.int64(axis.stride))
    offset = op.Sub(op.Add(positions, first), op.Unsqueeze(starts, [1]))
    inside = op.And(op.GreaterOrEqual(offset, np.int64(0)), op.Less(offset, np.int64(axis.extent)))
    if axis.dilation > 1:
        inside = op.And(inside, op.Equal(op.Mod(offset, np.int64(axis.dilation)), np.int64(0)))
    return inside


def _length(op: Emitter, name: str, i: int) -> str:
    return op.Squeeze(op.shape_of(name, 2 + i, 3 + i), [0])


def tap_counts(node: Node, op: Emitter, read: str, count: str, axes: Sequence[Axis], padding: bool) -> str:
    """How many positions each window reads, broadcastable to `count`; those in the padding included or not.

    A window that hangs over even the padding (ceil_mode) counts up to the padding's end; one that reads nothing, 1.
    """
    mode = node.attribute("auto_pad", "NOTSET")
    unpadded = mode == "VALID" or (mode == "NOTSET" and not any(node.attribute("pads") or []))
    hangs_over = bool(node.attribute("ceil_mode", 0)) and not mode.startswith("SAME")
    if (padding or unpadded) and not hangs_over:
        return op.const(float(np.prod([axis.kernel for axis in axes])), like=count)
    known: np.ndarray | float = 1.0
    computed = []
    for axis in axes:
        before, after = (axis.before or 0, axis.after or 0) if padding else (0, 0)
        reads = _reads(node, op, read, count, axes, axis.index, before, after)
        array = op.constant_value(reads)
        trailing = len(axes) - 1 - axis.index
        if array is None:
            counts = op.Max(op.ReduceSum(op.cast(reads, count), [1], keepdims=0), 1.0)
            computed.append(op.Unsqueeze(counts, list(range(1, 1 + trailing))) if trailing else counts)
        else:
            known = known * np.maximum(array.sum(1), 1).reshape(-1, *[1] * trailing)
    total = op.const(known, like=count)
    for counts in computed:
        total = op.Mul(total, counts)
    return total
