"""Layers with weights: y = x W + b, as convolution, matrix product or contraction, with what follows folded in.

A batch normalisation, a constant factor or a constant sum behind a layer belongs to it: relevance is propagated through
the layer that has the scale in its weights and the shift in its bias ("canonisation", as in Hui & Binder 2019 and
Pahde et al. 2023), so that a map does not depend on how an exporter wrote the layer. A rectifier behind all that is
folded in, too: relevance passes it unchanged, and the value before it, which the runtime fuses away, is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..emitter.node import Node
from .affine import layer_of
from .normalization import batch_statistics
from .products import both, one_sided
from .registry import LrpPass, Multipliers, Relevances, own_gradient, relevance
from .rules import through

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter


@relevance("Conv", "ConvTranspose")
def convolution(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    """Kernels that depend on the input count as constants."""
    layer = layer_of(node, op)
    if layer is not None:
        return through(layer, m, op, lrp)
    return one_sided(node, m, op, node.wants.index(True))


@relevance("Gemm", "MatMul", "Einsum")
def matrix_product(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    layer = layer_of(node, op)
    if layer is None:
        shares = list(both(node, m, op))
        if node.op_type == "Gemm" and len(node.inputs) > 2 and node.wants[2]:
            shares[2:] = one_sided(node, m, op, 2)[2:]
        return shares
    found = through(layer, m, op, lrp)
    added = node.input(2) if node.op_type == "Gemm" else None
    if added is None or added not in node.active:
        return found
    share = one_sided(node, m, op, 2)[2]
    assert share is not None
    # Of Gemm's third operand: a sum, whose other part is the layer.
    relevant = op.Mul(share, added) if added in lrp.zone else share
    kind = Relevances if isinstance(found, Relevances) else dict
    return kind({**found, added: relevant}) if added != layer.x else kind({added: op.Add(found[added], relevant)})


@relevance("Add", "Sub")
def sum_(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    """Both sides in proportion to what they contributed; a constant keeps its share."""
    layer = layer_of(node, op)
    return own_gradient(node, [m], op) if layer is None else through(layer, m, op, lrp)


@relevance("BatchNormalization")
def batch_normalization(
    node: Node, multipliers: Multipliers, op: Emitter, lrp: LrpPass
) -> Multipliers | Mapping[str, str]:
    """Behind a layer it is part of it. Elsewhere a factor and a constant, which keeps its share.

    In training mode the batch's statistics count as constants, those that the node gives out as well.
    """
    m = multipliers[0]
    if m is None:
        return []
    if node.attribute("training_mode", 0):
        return batch_statistics(node, m, op)
    layer = layer_of(node, op)
    return own_gradient(node, [m], op) if layer is None else through(layer, m, op, lrp)
