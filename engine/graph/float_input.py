"""Models that take integer pixels, as models that take real numbers: so that there is a slope to follow.

A uint8 input that is only moved about and then converted (Cast, DequantizeLinear) can be fed with real numbers just as
well: the answer is the same on whole ones, and in between the network is as smooth as behind the conversion.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto

from ..caches import of_model
from ..proto.attributes import attributes
from ..proto.edit import copied, replace_nodes
from ..proto.nodes import DOMAIN_NAMES
from ..proto.values import FLOATS
from .model import Model

_MOVES = frozenset("Transpose Reshape Squeeze Unsqueeze Flatten Identity Slice".split())


@of_model
def with_real_input(model: Model, name: str) -> Model:
    """The model with its integer input `name` turned into float32; the model itself if that is impossible."""
    return _converted(model, name) or model


def _converted(model: Model, name: str) -> Model | None:
    dtype = model.value(name).dtype
    if dtype is None or dtype.kind not in "iu" or any(v.name == name for v in model.graph.output):
        return None
    integers, replaced = {name}, dict[int, list[NodeProto]]()
    graph = copied(model.graph)
    for index, node in enumerate(model.graph.node):
        touched = [i for i, value in enumerate(node.input) if value in integers]
        if not touched:
            continue
        if touched != [0] or node.domain not in DOMAIN_NAMES:
            return None
        if node.op_type in _MOVES:
            integers.add(node.output[0])
        elif node.op_type == "DequantizeLinear":
            nodes = _dequantised(model, node, graph)
            if nodes is None:
                return None
            replaced[index] = nodes
        elif node.op_type != "Cast" or attributes(node)["to"] not in FLOATS:
            return None
    if any(v.name in integers for v in model.graph.output):
        return None
    nodes = [new for index, node in enumerate(model.graph.node) for new in replaced.get(index, [node])]
    replace_nodes(graph, nodes)
    for info in graph.input:
        if info.name == name:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return model.with_graph(graph)


def _dequantised(model: Model, node: NodeProto, graph: GraphProto) -> list[NodeProto] | None:
    """(x - zero point) * scale of one scale for the whole tensor, in real numbers."""
    scale = model.constant(node.input[1])
    zero = model.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.int64)
    if scale is None or zero is None or scale.size != 1 or scale.dtype != np.float32:
        return None
    base = f"real/{node.output[0]}"
    for suffix, array in (("zero", zero), ("scale", scale)):
        graph.initializer.append(onnx.numpy_helper.from_array(array.reshape(()).astype(np.float32), f"{base}/{suffix}"))
    return [
        onnx.helper.make_node("Sub", [node.input[0], f"{base}/zero"], [f"{base}/shifted"], name=f"{base}/shifted"),
        onnx.helper.make_node("Mul", [f"{base}/shifted", f"{base}/scale"], list(node.output), name=node.name),
    ]
