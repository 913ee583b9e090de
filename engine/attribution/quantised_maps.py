"""Maps of networks whose activations are integers: which values are maps, and the integer that stands for 0 in them."""

from __future__ import annotations

from ..caches import of_model
from ..graph.model import Model
from ..inspect.layers import Layer
from ..inspect.position_trace import trace
from ..proto.nodes import reads

# Which input of a node holds its output's zero point.
_ZERO_POINTS = {
    "QuantizeLinear": 2,
    "QLinearConcat": 1,
    **dict.fromkeys(("QLinearConv", "QLinearAdd", "QLinearMul"), 7),
    **dict.fromkeys(("QLinearLeakyRelu", "QLinearSigmoid", "QLinearAveragePool"), 4),
}
# Operators that hand on integers as they are, their zero point with them.
_HANDS_ON = frozenset("MaxPool Resize Transpose Slice Identity DepthToSpace SpaceToDepth".split())
_LONGEST = 50


def zero_of(model: Model, layer: Layer) -> int:
    """The integer that stands for 0 in the layer's value, 0 where it is not quantised."""
    name = zero_point(model, layer.output)
    constant = model.constant(name) if name else None
    return 0 if constant is None else int(constant.reshape(-1)[0])


def zero_point(model: Model, value: str) -> str | None:
    """The name of the zero point of a value, "" where it is left out; None where the value is not quantised."""
    for _ in range(_LONGEST):
        node = model.producer(value)
        if node is None or not node.input:
            return None
        place = _ZERO_POINTS.get(node.op_type)
        if place is not None:
            return node.input[place] if place < len(node.input) else ""
        if node.op_type not in _HANDS_ON:
            return None
        value = node.input[0]
    return None


def is_quantised_map(model: Model, layer: Layer) -> bool:
    """Whether the layer gives integers that are a map of the image."""
    value = model.value(layer.output)
    sizes = trace(model).shapes.get(layer.output) or ()
    if value.dtype is None or value.dtype.kind not in "iu" or len(sizes) != 4 or len(layer.map_axes or ()) != 2:
        return False
    if min(sizes[axis] for axis in layer.map_axes or ()) < 2 or zero_point(model, layer.output) is None:
        return False
    return trace(model).grid(layer.output) is not None


@of_model
def read_by_size_only(model: Model) -> frozenset[str]:
    """Values of which the nodes read nothing but the size: Shape, Size."""
    sized = {name for node in model.graph.node if node.op_type in ("Shape", "Size") for name in node.input}
    used = {name for node in model.graph.node if node.op_type not in ("Shape", "Size") for name in reads(node)}
    return frozenset(sized - used - {v.name for v in model.outputs})
