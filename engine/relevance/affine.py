"""A layer with weights, read from the graph: what is multiplied and added, what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import onnx
from onnx import NodeProto

from .. import gradients
from ..emitter.node import Node
from ..gradients.normalization import per_channel
from ..gradients.registry import Gradient

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter

_POSITIVE = frozenset("Relu Sigmoid HardSigmoid Softmax Softplus Abs Sqrt Exp ReduceL1 ReduceL2 GlobalLpPool".split())
_KEEPS_SIGN = frozenset(
    """Identity MaxPool AveragePool GlobalAveragePool GlobalMaxPool Reshape Flatten Transpose Squeeze Unsqueeze Slice
    Split Gather Dropout Cast ReduceMean ReduceMax ReduceMin ReduceSum DepthToSpace SpaceToDepth Expand Tile""".split()
)
_DEEPEST = 40


@dataclass(frozen=True)
class AffineLayer:
    """y = x W + b.

    node      the operator; `slot` and `weight_slot` are the places of x and W among its inputs
    weights   W, with the factors of what follows
    bias      b, broadcastable to y, None where there is none
    y         the layer's value, whatever is folded in included
    ends      "" linearly, "Relu" where y = max(x W + b, 0), "Clip" where y has an upper bound as well
    """

    node: Node
    slot: int
    weight_slot: int
    weights: str
    bias: str | None
    y: str
    ends: str = ""

    @property
    def x(self) -> str:
        return self.node.inputs[self.slot]

    @property
    def is_conv(self) -> bool:
        return self.node.op_type in ("Conv", "ConvTranspose")

    def _inputs(self, x: str, weights: str) -> list[str]:
        inputs = list(self.node.inputs) if self.node.op_type == "Einsum" else ["", ""]
        inputs[self.slot], inputs[self.weight_slot] = x, weights
        return inputs

    def forward(self, op: Emitter, x: str, weights: str) -> str:
        """x W of another x and W of the same shapes."""
        attributes: dict[str, Any] = {a.name: _value(a) for a in self.node.proto.attribute}
        return op.emit(self.node.op_type, *self._inputs(x, weights), **attributes)

    def backward(self, op: Emitter, d: str, weights: str) -> str:
        """d W^T, in the shape of x."""
        proto = NodeProto()
        proto.CopyFrom(self.node.proto)
        del proto.input[:]
        proto.input.extend(self._inputs(self.x, weights))
        node = Node(proto, [i == self.slot for i in range(len(proto.input))])
        entry = gradients.find("", self.node.op_type)
        assert isinstance(entry, Gradient)
        result = entry.rule(node, [d], op)
        assert not isinstance(result, Mapping)
        found = result[self.slot]
        assert found is not None
        op.take_shape(found, self.x)
        return found


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def layer_of(node: Node, op: Emitter) -> AffineLayer | None:
    """The layer that ends at this node, None where there is none: no weights, or weights that depend on the input."""
    if node.op_type in ("Relu", "Clip") and not node.domain:
        return _rectified(node, op)
    if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum") and not node.domain:
        return _plain(node, op)
    if node.op_type in ("Add", "Sub", "Mul", "Div", "BatchNormalization") and not node.domain:
        return _folded(node, op)
    return None


def _plain(node: Node, op: Emitter) -> AffineLayer | None:
    active = [i for i, name in enumerate(node.inputs[:2]) if name in node.active]
    conv = node.op_type in ("Conv", "ConvTranspose")
    if len(active) != 1 or len(node.inputs) < 2 or (conv and active != [0]):
        return None
    if node.op_type == "Einsum" and len(node.inputs) != 2:
        return None
    slot = active[0]
    bias = node.input(2)
    if bias is not None and bias in node.active:
        bias = None
    elif bias is not None and conv:
        bias = _shaped(op, bias, node.outputs[0], 1)
    elif bias is not None and node.attribute("beta", 1.0) != 1:
        bias = op.Mul(bias, node.attribute("beta", 1.0))
    return AffineLayer(node, slot, 1 - slot, node.inputs[1 - slot], bias, node.outputs[0])


def _shaped(op: Emitter, vector: str, y: str, axis: int) -> str:
    """A vector of one number per channel, broadcastable to `y`."""
    trailing = op.rank(y) - 1 - axis
    return op.Unsqueeze(vector, list(range(1, 1 + trailing))) if trailing else vector


def _before(node: Node, op: Emitter, name: str) -> AffineLayer | None:
    """The layer that ends at `name`, without a rectifier, if nobody asks for the relevance there."""
    maker = op.producer(name)
    if maker is None or name in node.asked or name not in node.active:
        return None
    layer = layer_of(Node(maker, None, node.active, node.asked), op)
    return None if layer is None or layer.ends else layer


def _rectified(node: Node, op: Emitter) -> AffineLayer | None:
    """The layer before a rectifier: a Relu, or a Clip to numbers from 0 on."""
    inner = _before(node, op, node.inputs[0])
    if inner is None:
        return None
    if node.op_type == "Clip":
        low = op.constant_value(node.inputs[1]) if node.input(1) else None
        if low is None or low.size != 1 or low.item() != 0:
            return None
    return replace(inner, y=node.outputs[0], ends=node.op_type)


def _folded(node: Node, op: Emitter) -> AffineLayer | None:
    """The layer before a sum with or a product by constants, one number per channel, with these folded in."""
    active = [i for i, name in enumerate(node.inputs) if name in node.active]
    if len(active) != 1:
        return None
    (slot,) = active
    batch = node.op_type == "BatchNormalization"
    if (slot != 0 and node.op_type not in ("Add", "Mul")) or (batch and node.attribute("training_mode", 0)):
        return None
    inner = _before(node, op, node.inputs[slot])
    if inner is None or inner.node.op_type == "Einsum" or not op.same_shape(inner.y, node.outputs[0]):
        return None
    axis = 1 if inner.is_conv else op.rank(inner.y) - 1
    if batch:
        if axis != 1:
            return None
        _, scale, shift, mean, var = node.inputs[:5]
        factor = op.Div(op.cast(scale, var), op.Sqrt(op.Add(var, node.attribute("epsilon", 1e-5))))
        offset = op.cast(op.Sub(op.cast(shift, var), op.Mul(mean, factor)), inner.y)
        factor = op.cast(factor, inner.y)
        folded = _scaled(op, inner, factor, per_channel(op, factor, inner.y))
        return None if folded is None else _shifted(op, folded, per_channel(op, offset, inner.y), node.outputs[0])
    constant = node.inputs[1 - slot]
    if node.op_type in ("Add", "Sub"):
        return _shifted(op, inner, constant if node.op_type == "Add" else op.Neg(constant), node.outputs[0])
    vector = _per_channel_vector(op, constant, inner.y, axis)
    if vector is None:
        return None
    if node.op_type == "Div":
        vector, constant = op.Reciprocal(vector), op.Reciprocal(constant)
    folded = _scaled(op, inner, vector, constant)
    return None if folded is None else replace(folded, y=node.outputs[0])


def _per_channel_vector(op: Emitter, constant: str, y: str, axis: int) -> str | None:
    """A constant that is the same along all axes of `y` but `axis`, as a vector; None for others."""
    shape = op.static_shape(constant)
    if shape is None or len(shape) > op.rank(y):
        return None
    from_end = op.rank(y) - axis
    if any(d != 1 for i, d in enumerate(shape) if len(shape) - i != from_end):
        return None
    return op.Reshape(constant, [-1])


def _shifted(op: Emitter, layer: AffineLayer, offset: str, y: str) -> AffineLayer:
    return replace(layer, bias=offset if layer.bias is None else op.Add(layer.bias, offset), y=y)


def _scaled(op: Emitter, layer: AffineLayer, vector: str, broadcast: str) -> AffineLayer | None:
    """The layer with its outputs multiplied by one number per channel; None where the weights cannot take them."""
    node, rank = layer.node, op.rank(layer.weights)
    if node.op_type == "Conv":
        shaped = op.Unsqueeze(vector, list(range(1, rank)))
    elif node.op_type == "ConvTranspose":
        if node.attribute("group", 1) != 1:
            return None
        shaped = op.Unsqueeze(vector, [0, *range(2, rank)])
    elif layer.slot != 0:
        return None
    else:
        columns = not (node.op_type == "Gemm" and node.attribute("transB", 0))
        shaped = vector if columns else op.Unsqueeze(vector, [1])
    bias = None if layer.bias is None else op.Mul(layer.bias, broadcast)
    return replace(layer, weights=op.Mul(layer.weights, shaped), bias=bias)


def nonnegative(op: Emitter, name: str, depth: int = 0) -> bool:
    """Whether the value is surely 0 or more everywhere, by how it is made."""
    proto = op.producer(name)
    if proto is None or depth > _DEEPEST:
        return False
    node = Node(proto)
    if node.op_type in _POSITIVE:
        return True
    if node.op_type in ("Clip", "Max"):
        bounds = node.inputs[1:2] if node.op_type == "Clip" else node.inputs
        values = [op.constant_value(b) for b in bounds if b and (op.constant_nbytes(b) or 0) <= 8]
        return any(v is not None and v.size and v.min() >= 0 for v in values)
    if node.op_type == "Pad":
        filler = None if node.input(2) is None else op.constant_value(node.inputs[2])
        if node.input(2) is not None and (filler is None or filler.min() < 0):
            return False
        return nonnegative(op, node.inputs[0], depth + 1)
    if node.op_type in ("Concat", "Add"):
        return len(node.inputs) <= 8 and all(nonnegative(op, i, depth + len(node.inputs)) for i in node.inputs)
    return node.op_type in _KEEPS_SIGN and nonnegative(op, node.inputs[0], depth + 1)
