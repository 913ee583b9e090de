"""Operators that slide a window: convolutions, pools, and blocks of pixels that become channels."""

from __future__ import annotations

from ...proto.attributes import window
from ...proto.operators import CONVOLUTIONS, MICROSOFT, weight_of
from .reach import Reach
from .rules import Axes, Link, Links, LocalNode, Mixing, joining_rule, kept, rule

FUSED = ("FusedConv", "NhwcFusedConv")


def first_spatial(node: LocalNode) -> int:
    return 1 if node.op.startswith("Nhwc") or node.given.get("channels_last") else 2


def sliding(node: LocalNode) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, dilation, padding before) for every spatial axis of a convolution or pool.

    Raises Mixing where the kernel's size is not known, and ModelError for numbers that are no window.
    """
    kernel = node.given.get("kernel_shape") or node.shape(weight_of(node.node))[2:]
    numbers = [int(k) for k in kernel if isinstance(k, int)]
    if len(numbers) < len(kernel):
        raise Mixing
    start, count = first_spatial(node), node.rank - 2
    sizes = [size if isinstance(size, int) else None for size in node.before[start : start + count]]
    return window(node.node, sizes, numbers)


@rule([op for op in CONVOLUTIONS if op not in FUSED])
@rule("MaxPool AveragePool LpPool")
@rule("QLinearAveragePool NhwcMaxPool", MICROSOFT)
def pooled(node: LocalNode, axes: Axes) -> Links:
    start = first_spatial(node)
    if any(axis and not start <= axis < start + node.rank - 2 for axis in axes):
        raise Mixing  # all channels are read
    steps = sliding(node)
    return {axis: _slid(axis, *steps[axis - start]) if axis else Link(0) for axis in axes}


def _slid(axis: int, kernel: int, stride: int, dilation: int, before: int) -> Link:
    return Link(axis, Reach(stride, 1, -before, (kernel - 1) * dilation - before))


@joining_rule(FUSED, MICROSOFT)
def fused(node: LocalNode) -> dict[str, Links]:
    """act(Conv(X) + Z)."""
    data = node.inputs[0]
    added = node.inputs[3] if len(node.inputs) > 3 else ""
    if data == added or not set(node.followed) <= {data, added}:
        raise Mixing
    found = {}
    if added in node.followed:
        found[added] = kept(node.followed[added])
    if data in node.followed:
        found[data] = pooled(node, node.followed[data])
    if len({frozenset(by_axis) for by_axis in found.values()}) > 1:
        raise Mixing
    return found


@rule("SpaceToDepth")
def space_to_depth(node: LocalNode, axes: Axes) -> Links:
    block = int(node.given.get("blocksize", 1))
    if block < 1 or 1 in axes:
        raise Mixing
    return {axis: Link(axis, Reach(block, 1, 0, block - 1)) if axis else Link(0) for axis in axes}
