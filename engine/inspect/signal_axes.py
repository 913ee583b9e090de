"""Which axes of an input lie along places.

Those that a convolution slides along, of a signal (one) or a volume (three), and the times of a series that a recurrent
layer or a transformer reads.
"""

from __future__ import annotations

from onnx import NodeProto

from ..caches import of_model
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.nodes import plain_domain
from ..proto.operators import CONVOLUTIONS
from ..proto.values import Value
from .receptive_field import spatial_axes
from .said_input import said_input
from .signature import first_layer


@of_model
def convolved_axes(model: Model) -> tuple[str, tuple[int, ...]] | None:
    """The first input of floats that a convolution slides along one or three axes of, and these axes; else the first
    one whose last axis is read as features, and that of its times; those that the card says, if it does.

    Channels may come first or last, and an axis may be added or moved before the convolution. None where there is no
    such input.
    """
    said = said_input(model)
    if said is not None and (said.axes or said.kind == "table"):
        return (said.name, said.places) if len(said.places) in (1, 3) and said.kind != "text" else None
    floats = [v for v in model.inputs if v.rank is not None and v.dtype is not None and v.dtype.kind == "f"]
    for value in floats:
        if value.rank in (3, 5):
            node = first_layer(model, value.name)
            if node is not None and node.op_type in CONVOLUTIONS:
                return value.name, tuple(range(2, value.rank))
    for value in floats:
        axes = _followed(model, value)
        if len(axes) in (1, 3):
            return value.name, axes
    for value in floats:
        if value.rank == 3 and (axis := _times(model, value)):
            return value.name, (axis,)
    return None


def _followed(model: Model, value: Value) -> tuple[int, ...]:
    """The axes of the input that become those of places at the first convolution that reads it."""
    if value.rank is None or not 2 <= value.rank <= 5:
        return ()
    places = {axis: spatial_axes(model, value.name, (axis,)) for axis in range(1, value.rank)}
    for node in model.graph.node:
        if node.op_type not in CONVOLUTIONS or not any(node.input[0] in found for found in places.values()):
            continue
        return tuple(axis for axis, found in places.items() if node.input[0] in found and found[node.input[0]][0] >= 2)
    return ()


def _times(model: Model, value: Value) -> int:
    """The axis of times of a series that no convolution reads; 0 where nothing says which."""
    if any(_moves_features_last(model, node) for node in model.consumers(value.name)):
        return 2
    return 1 if (value.shape or (None,) * 3)[1] != 1 and reads_features(model, value.name) else 0


def _moves_features_last(model: Model, node: NodeProto) -> bool:
    """Whether a node exchanges both axes of a series for a matrix that reads the last one."""
    if node.op_type != "Transpose" or list(attributes(node).get("perm", ())) != [0, 2, 1]:
        return False
    return any(n.op_type == "MatMul" and n.input[0] == node.output[0] for n in model.consumers(node.output[0]))


_RECURRENT = frozenset(("LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"))


def reads_features(model: Model, name: str) -> str:
    """Why the last axis holds features and the one before times; "" where nothing says so."""
    for _, op, place in readers_behind(model, name):
        if op in _RECURRENT and place == 0:
            return f"{op} reads it, times before features"
    for node in model.consumers(name):
        if _moves_features_last(model, node):
            return ""
        if node.op_type == "Transpose" and list(attributes(node).get("perm", ())) in ([0, 2, 1], [1, 0, 2]):
            return "its first use moves times to where a layer reads them"
        if node.op_type == "MatMul" and node.input[0] == name:
            return "a matrix reads its last axis, features"
    return ""


def readers_behind(model: Model, name: str, most: int = 6) -> list[tuple[str, str, int]]:
    """(domain, operator, which input) of the nodes that read the value, plain carriers passed."""
    front, seen = [(name, 0)], []
    while front:
        value, depth = front.pop()
        for node in model.consumers(value):
            place = list(node.input).index(value) if value in node.input else -1
            seen.append((plain_domain(node.domain), node.op_type, place))
            if node.op_type in _CARRIERS and depth < most and place == 0:
                front += [(o, depth + 1) for o in node.output if o]
    return seen


_CARRIERS = frozenset("Cast Reshape Squeeze Unsqueeze Identity Transpose Slice Flatten Concat Pad Clip Where".split())
