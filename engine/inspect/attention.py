"""Attention weights, found in the graph of a transformer."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from ..caches import of_model
from ..graph.model import Model
from ..proto.attributes import attributes
from ..proto.nodes import DOMAIN_NAMES, label
from .position_trace import trace

# What may lie between the softmax and the product: operators that move weights about or mask some of them.
_MOVES = frozenset("Reshape Transpose Unsqueeze Squeeze Flatten".split())
_KEEPS = frozenset("Dropout Cast Identity Where QuantizeLinear DequantizeLinear DynamicQuantizeLinear".split())
_PRODUCTS = frozenset("MatMul Einsum MatMulInteger QLinearMatMul FusedMatMul".split())


@dataclass(frozen=True)
class Attention:
    """One attention of the graph.

    name: the softmax, for messages. value: what holds the map; `query` and `key` are its axes, counted from the end.
    product: what comes out of the multiplication with the `values`; their token axes, counted from the end.
    """

    name: str
    value: str
    query: int
    key: int
    product: str
    product_axis: int
    values: str
    values_axis: int


# ---- finding


@of_model
def attentions(model: Model) -> tuple[Attention, ...]:
    """All attentions of the graph, in its order, those inside operators that hold a whole one left out."""
    found = (_from_softmax(model, node) for node in model.graph.node if _is_softmax(model, node))
    return tuple(attention for attention in found if attention is not None)


def _is_softmax(model: Model, node: NodeProto) -> bool:
    return node.op_type == "Softmax" and node.domain in DOMAIN_NAMES


def _from_softmax(model: Model, softmax: NodeProto) -> Attention | None:
    """Follow the softmax's result to a product with values; None where it does not get to one."""
    rank = rank_of(model, softmax.output[0])
    axis = attributes(softmax).get("axis", -1 if model.opset >= 13 else 1)
    if rank is None or rank < 3:
        return None
    axis = axis % rank
    if model.opset < 13 and axis != rank - 1:
        return None  # all axes from there on are one
    # (value, the value to read the map from, whether some weights were masked on the way)
    waiting = [(softmax.output[0], softmax.output[0], False)]
    seen = {softmax.output[0]}
    while waiting:
        value, shown, masked = waiting.pop(0)
        for node in model.consumers(value):
            if node.op_type in _PRODUCTS:
                found = _from_product(model, softmax, node, value, axis - rank, shown, masked)
                if found is not None:
                    return found
            elif _passes(model, node, value, axis == rank - 1):
                output = node.output[0]
                if output not in seen:
                    seen.add(output)
                    now = output if _is_float(model, output) else shown
                    waiting.append((output, now, masked or node.op_type == "Where"))
    return None


def _passes(model: Model, node: NodeProto, value: str, last: bool) -> bool:
    """Whether a node hands the weights on, the axis of the keys still being the last one if it was."""
    if node.op_type == "Where":
        return value in node.input[1:]
    if node.op_type in _KEEPS:
        return bool(node.input[0] == value)
    if node.op_type not in _MOVES or node.input[0] != value or not last:
        return False
    if node.op_type != "Transpose":
        return True
    perm = attributes(node).get("perm") or (0,)
    return len(perm) > 1 and bool(perm[-1] == len(perm) - 1)


def _from_product(
    model: Model, softmax: NodeProto, node: NodeProto, value: str, axis: int, shown: str, masked: bool
) -> Attention | None:
    """The attention whose weights are `value`, a factor of a product, if that sums over the softmax's axis."""
    if node.op_type == "Einsum":
        return _from_einsum(model, softmax, node, list(node.input).index(value), axis, shown)
    if node.input[0] != value or axis != -1 or attributes(node).get("transA"):
        return None
    values = node.input[3] if node.op_type == "QLinearMatMul" else node.input[1]
    if model.constant(values) is not None or rank_of(model, values) in (None, 1, 2):
        return None
    first, last = (trace(model).shapes.get(name) for name in (softmax.output[0], value))
    if not masked and first is not None and last is not None and len(first) > len(last) and first[-2:] == last[-2:]:
        shown = softmax.output[0]  # the product's factor has batch and heads in one axis
    own = -1 if attributes(node).get("transB") else -2
    return Attention(label(softmax), shown, -2, -1, node.output[0], -2, values, own)


def _from_einsum(
    model: Model, softmax: NodeProto, node: NodeProto, place: int, axis: int, shown: str
) -> Attention | None:
    terms, arrow, result = attributes(node)["equation"].replace(" ", "").partition("->")
    letters = terms.split(",")
    if not arrow or "." in terms or len(letters) != 2:
        return None
    own, other, values = letters[place], letters[1 - place], node.input[1 - place]
    if model.constant(values) is not None or len(set(own)) < len(own):
        return None
    key = own[axis]
    queries = [letter for letter in own if letter in result and letter not in other]
    if key in result or key not in other or len(queries) != 1:
        return None
    query = queries[0]
    return Attention(
        label(softmax),
        shown,
        own.index(query) - len(own),
        own.index(key) - len(own),
        node.output[0],
        result.index(query) - len(result),
        values,
        other.index(key) - len(other),
    )


def rank_of(model: Model, name: str) -> int | None:
    rank = model.value(name).rank
    if rank is None:
        shape = trace(model).shapes.get(name)
        rank = None if shape is None else len(shape)
    return rank


def _is_float(model: Model, name: str) -> bool:
    dtype = model.value(name).dtype
    return dtype is not None and dtype.kind == "f"
