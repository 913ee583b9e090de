"""Normalisation by statistics of the values themselves: these count as constants.

    y = scale (x - mean) / deviation + shift

is then linear: the deviation is a number to divide by, the mean an average whose share goes back to what it was taken
of, and the shift a constant that keeps its share (Ali et al., "XAI for Transformers", ICML 2022, section 3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto

from ..gradients.normalization import normalised, per_channel, wide
from ..proto.operators import ML
from .elementwise import passed
from .registry import LrpPass, Multipliers, relevance

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node


def _through(op: Emitter, d: str, inverse: str, axes: list[int]) -> str:
    """(d - mean of d) / deviation, with `inverse` one over the deviation."""
    return op.Mul(op.Sub(d, op.ReduceMean(d, axes, keepdims=1)), inverse)


@relevance("LayerNormalization")
def layer_normalization(node: Node, multipliers: Multipliers, op: Emitter, lrp: LrpPass) -> Multipliers:
    """The statistics that the node gives out count as constants, too."""
    m = multipliers[0]
    if m is None:
        return []
    x, scale = node.inputs[:2]
    axes = list(range(node.attribute("axis", -1) % op.rank(x), op.rank(x)))
    exact = wide(op, x, x)
    if op.elem_type(exact) != TensorProto.FLOAT:
        _, inverse = normalised(op, exact, axes, node.attribute("epsilon", 1e-5))
    else:
        inverse = op.extra_output(node, 2)
    return [op.cast(_through(op, op.Mul(wide(op, m, x), wide(op, scale, x)), inverse, axes), x)]


@relevance("InstanceNormalization")
def instance_normalization(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    x, scale = node.inputs[:2]
    spatial = list(range(2, op.rank(x)))
    _, inverse = normalised(op, wide(op, x, x), spatial, node.attribute("epsilon", 1e-5))
    scaled = op.Mul(wide(op, m, x), per_channel(op, wide(op, scale, x), x))
    return [op.cast(_through(op, scaled, inverse, spatial), x)]


@relevance("GroupNormalization")
def group_normalization(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    """Before opset 21 the scale is one number per group."""
    x, scale = node.inputs[:2]
    groups = [0, node.attribute("num_groups"), -1]
    _, inverse = normalised(op, op.Reshape(wide(op, x, x), groups), [2], node.attribute("epsilon", 1e-5))
    slope, m = wide(op, scale, x), wide(op, m, x)
    if op.opset < 21:
        scaled = op.Mul(op.Reshape(m, groups), op.Unsqueeze(slope, [1]))
    else:
        scaled = op.Reshape(op.Mul(m, per_channel(op, slope, x)), groups)
    return [op.cast(op.reshape_like(_through(op, scaled, inverse, [2]), x), x)]


@relevance("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    x, axes = node.inputs[0], node.attribute("axes") or [0, 2, 3]
    _, inverse = normalised(op, wide(op, x, x), axes, 1e-9)
    return [op.cast(_through(op, wide(op, m, x), inverse, axes), x)]


def batch_statistics(node: Node, m: str, op: Emitter) -> Multipliers:
    """BatchNormalization in training mode: by the statistics of the batch."""
    x, scale, var = node.inputs[0], node.inputs[1], node.inputs[4]
    rest = [0, *range(2, op.rank(x))]
    _, inverse = normalised(op, op.cast(x, var), rest, node.attribute("epsilon", 1e-5))
    scaled = op.Mul(op.cast(m, var), per_channel(op, op.cast(scale, var), x))
    return [op.cast(_through(op, scaled, inverse, rest), x)]


@relevance("RMSNormalization", "LpNormalization", "LRN")
@relevance("Normalizer", domain=ML)
def divided(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    """Division by a statistic alone changes nothing in the relevance."""
    return [passed(op, m, node.inputs[0], node.outputs[0])]
