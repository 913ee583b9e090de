"""Which local nodes can be written for a part of their output, as `crop_graph.py` does it."""

from __future__ import annotations

from collections.abc import Callable

from ..inspect.locality.rules import Axes, LocalNode, Mixing
from ..proto.arguments import slice_of
from ..proto.operators import CONVOLUTIONS, POINTWISE, POINTWISE_WITH_CHANNELS

_WINDOWS = (*CONVOLUTIONS, *"MaxPool AveragePool LpPool QLinearAveragePool NhwcMaxPool".split())
# How a node is written for a part of its output where it is not written as it is: see `locality.Step`.
KINDS: dict[str, str] = {
    **dict.fromkeys(_WINDOWS, "window"),
    "Pad": "pad",
    "Slice": "slice",
    "Reshape": "reshape",
    "Resize": "resize",
    "Upsample": "resize",
}


def _check_window(node: LocalNode, _: Axes) -> None:
    given = node.given
    if node.rank != 4 or node.inputs[0] not in node.followed or set(node.followed.values()) != {(0, 2, 3)}:
        raise Mixing
    if len([out for out in node.node.output if out]) > 1 or given.get("storage_order", 0):
        raise Mixing
    if given.get("ceil_mode", 0) and (given.get("count_include_pad", 0) or node.op == "QLinearAveragePool"):
        raise Mixing  # what lies beyond the padding is not counted, what lies in it is
    if given.get("channels_last", 0):
        raise Mixing


def _check_slice(node: LocalNode, places: Axes) -> None:
    if any(cut.axis not in places for cut in slice_of(node.node, node.rank, node.model.constant, ends=False)):
        slice_of(node.node, node.rank, node.model.constant)  # what is cut of other axes is written with its end


def _check_reshape(node: LocalNode, _: Axes) -> None:
    if node.before[0] == 1 and 1 in (*node.before[1:2], *node.after[1:2]):
        raise Mixing  # either of the two may be the samples


def _check_concat(node: LocalNode, _: Axes) -> None:
    """A constant next to the maps would have to be cut to size."""
    data = node.inputs[2::3] if node.op == "QLinearConcat" else node.inputs
    if any(name not in node.followed for name in data if name):
        raise Mixing


def _check_product(node: LocalNode, _: Axes) -> None:
    if len(node.shape(node.inputs[1])) != 2:
        raise Mixing


_PER_CHANNEL = ("BatchNormalization", "QuantizeLinear", "DequantizeLinear")


def _check_constants(node: LocalNode, places: Axes) -> None:
    """Constants that differ from place to place would have to be cut to size with every window."""
    rank = len(node.after)
    for name in filter(None, node.inputs):
        if name in node.followed:
            continue
        shape = node.shape(name)
        if node.op in _PER_CHANNEL and len(shape) == 1:
            if node.op != "BatchNormalization" and shape[0] != 1 and node.axis(1) in places:
                raise Mixing
        elif any(size != 1 for axis, size in enumerate(shape, rank - len(shape)) if axis in places):
            raise Mixing


_CHECKS: dict[str, Callable[[LocalNode, Axes], None]] = {
    **{op: _check_constants for _, op in POINTWISE | POINTWISE_WITH_CHANNELS},
    **dict.fromkeys(_WINDOWS, _check_window),
    **dict.fromkeys(("Concat", "QLinearConcat"), _check_concat),
    "Slice": _check_slice,
    "Reshape": _check_reshape,
    "MatMul": _check_product,
}


def check_writable(node: LocalNode, places: Axes) -> None:
    """What it takes besides a rule, where rows and columns lie at `places` in the output. Raises Mixing, Unreadable."""
    check = _CHECKS.get(node.op)
    if check is not None:
        check(node, places)
