"""Whether a node can make a size below 0, as far as its arguments tell without any inference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto

from . import external_data as external
from .nodes import DOMAIN_NAMES

_NUMBERS = (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT)
_NOTHING_KNOWN = -(1 << 62)

# Operators with an argument that holds sizes or amounts: its place, and the least number that is harmless. Of a Reshape
# -1 stands for what is left over.
_ARGUMENTS: Mapping[str, tuple[int, int]] = {
    "Pad": (1, 0),
    "Tile": (1, 0),
    "Expand": (1, 0),
    "ConstantOfShape": (0, 0),
    "Reshape": (1, -1),
    "Split": (1, 0),
}
# Operators whose output can be smaller than 0 whatever is known of their arguments.
_ALWAYS = frozenset(
    """Conv ConvTranspose ConvInteger QLinearConv DeformConv MaxPool AveragePool LpPool MaxUnpool Col2Im Range
    CenterCropPad""".split()
)
# What hands on numbers of its inputs, or of the first of them.
_JOINS = frozenset(("Concat", "Max", "Min"))
_MOVES = frozenset(("Gather", "Slice", "Cast", "Squeeze", "Unsqueeze", "Identity", "Reshape"))


class LowerBounds:
    """Lower bounds of the whole numbers that a graph computes, its nodes taken in order.

    followed: whether inference follows computed numbers; else only stored ones can become sizes.
    """

    def __init__(self, graph: GraphProto, followed: bool) -> None:
        self.followed = followed
        self._stored = {t.name: t for t in graph.initializer}
        self._least: dict[str, int] = {}

    def can_go_below(self, node: NodeProto) -> bool:
        """Whether the node, whose inputs were looked at before, can have an output with a size below 0."""
        if node.domain not in DOMAIN_NAMES:
            return False
        if self.followed or node.op_type == "Constant":
            self._note(node)
        if node.op_type in ("Resize", "Upsample"):
            arguments = [name for name in node.input[1:] if name]
            return not arguments or any(self._of(name) < 0 for name in arguments)
        if node.op_type in _ALWAYS:
            return True
        known = _ARGUMENTS.get(node.op_type)
        if known is None:
            return False
        place, harmless = known
        if any(a.name in ("pads", "shape", "split", "repeats") for a in node.attribute):
            return True  # as before the argument became an input
        if place >= len(node.input) or not node.input[place]:
            return False
        name = node.input[place]
        least = self._of(name)
        if name not in self._stored and name not in self._least and not self.followed:
            return False
        return least < harmless

    def _note(self, node: NodeProto) -> None:
        least = _NOTHING_KNOWN
        if node.op_type in ("Shape", "Size"):
            least = 0
        elif node.op_type in _MOVES:
            least = self._of(node.input[0])
        elif node.op_type in _JOINS:
            least = min((self._of(name) for name in node.input if name), default=least)
        elif node.op_type == "Div" and all(self._of(name) >= 0 for name in node.input):
            least = 0  # sums and products may overflow
        elif node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            least = _NOTHING_KNOWN if tensor is None else _least(tensor)
        if least != _NOTHING_KNOWN:
            self._least[node.output[0]] = least

    def _of(self, name: str) -> int:
        if name not in self._least and name in self._stored:
            self._least[name] = _least(self._stored[name])
        return self._least.get(name, _NOTHING_KNOWN)


def _least(tensor: TensorProto) -> int:
    """The least number of a small stored tensor, rounded down."""
    if tensor.data_type not in _NUMBERS or external.is_external(tensor):
        return _NOTHING_KNOWN
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return _NOTHING_KNOWN
    least = np.floor(np.min(array)) if array.size else 0
    return int(least) if np.isfinite(least) else _NOTHING_KNOWN
