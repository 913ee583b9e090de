"""The places of a graph that relevance propagation treats in a way of their own: before the first layers, and the last.

The zone: the explained input and what is made of it by moving values about and by adding or multiplying constants, as
exporters write the normalisation of pixels. The first layers with weights read values of the zone. Relevance passes the
zone unchanged, so that a map does not depend on whether the normalisation is part of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onnx import NodeProto

from .. import gradients
from ..gradients.registry import Constant
from ..proto.nodes import plain_domain, reads
from ..proto.operators import MICROSOFT, ML
from .registry import Composite, LrpPass, Multipliers, own_gradient

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node
    from ..graph.model import Model

_MOVES = frozenset(
    """Identity Cast Transpose Reshape Flatten Squeeze Unsqueeze Pad Slice Split Concat Gather SpaceToDepth DepthToSpace
    Dropout Expand""".split()
)
_AFFINE = frozenset("Add Sub Mul Div BatchNormalization QuantizeLinear DequantizeLinear Scaler".split())
# Operators that have weights where one of their operands is constant.
WEIGHTED = frozenset(
    """Conv ConvTranspose Gemm MatMul Einsum DeformConv LinearRegressor LinearClassifier FusedConv NhwcFusedConv
    FusedGemm FusedMatMul TransposeMatMul LSTM GRU RNN""".split()
)
_DOMAINS = ("", ML, MICROSOFT)


def propagation(model: Model, composite: Composite, of: str, input: str) -> LrpPass:
    """What a propagation from the value `of` back to `input` has to know of the graph."""
    zone, dependent = _zone(model, input)
    return LrpPass(composite, input, frozenset(zone), frozenset(_last(model, of, dependent)))


def _zone(model: Model, input: str) -> tuple[set[str], set[str]]:
    """The zone, and all values that depend on the input through more than its shape."""
    zone, dependent = {input}, {input}
    for node in model.graph.node:
        touched = [i for i, name in enumerate(node.input) if name in dependent]
        inside = any(name in dependent for name in reads(node))
        if not inside or isinstance(gradients.find(node.domain, node.op_type), Constant):
            continue
        dependent.update(o for o in node.output if o)
        if plain_domain(node.domain) not in _DOMAINS or not touched or not all(node.input[i] in zone for i in touched):
            continue
        moves = node.op_type in _MOVES and (touched == [0] or node.op_type == "Concat")
        shifts = node.op_type in _AFFINE and len(touched) == 1 and (touched == [0] or node.op_type in ("Add", "Mul"))
        if moves or shifts:
            zone.update(o for o in node.output if o)
    return zone, dependent


def _last(model: Model, of: str, dependent: set[str]) -> set[str]:
    """Outputs of the layers with weights from which `of` is made without another one in between."""
    free, last = {of}, set()
    for node in reversed(model.graph.node):
        made = [o for o in node.output if o in free]
        if made and has_weights(node, dependent):
            last.update(made)
        elif made:
            free.update(reads(node))
    return last


def has_weights(node: NodeProto, dependent: set[str]) -> bool:
    """Whether the node is a layer with weights: a product of which one side does not depend on the input."""
    return node.op_type in WEIGHTED and any(name and name not in dependent for name in node.input[:2])


def carried_back(
    node: Node, relevances: Multipliers, op: Emitter, lrp: LrpPass
) -> Sequence[str | None] | Mapping[str, str]:
    """Relevance through a node of the zone: back to where a value came from, unchanged by sums and factors."""
    if node.op_type not in _AFFINE:
        return own_gradient(node, relevances, op)
    (relevance,) = relevances[:1]
    return [relevance if name in lrp.zone else None for name in node.inputs]


def carried(op: Emitter, name: str, start: str, lrp: LrpPass, affine: bool) -> str:
    """The zone's value `name` as it would be if the input were `start`.

    Without `affine`, sums and factors are left out, and padding is 0: what comes of a mask.
    """
    if name == lrp.input:
        return start
    proto = op.producer(name)
    assert proto is not None
    inputs = list(proto.input)
    if proto.op_type in _AFFINE and not affine:
        (inner,) = (i for i in inputs if i in lrp.zone)
        return op.expand_like(carried(op, inner, start, lrp, affine), name)
    if proto.op_type == "Pad" and not affine and len(inputs) > 2:
        inputs[2] = ""
    copy = NodeProto()
    copy.CopyFrom(proto)
    del copy.input[:]
    copy.input.extend(carried(op, i, start, lrp, affine) if i in lrp.zone else i for i in inputs)
    del copy.output[:]
    copy.output.extend(op.fresh(proto.op_type) if o else "" for o in proto.output)
    copy.name = next(o for o in copy.output if o)
    op.add(copy)
    return str(copy.output[list(proto.output).index(name)])
