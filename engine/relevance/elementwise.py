"""Functions of one value, element by element: they pass relevance unchanged, m_x = m_y y / x.

The share of a unit is decided where units are summed up, in layers, not by what is done to the sum (Bach et al. 2015;
Montavon et al. 2019, section 10.2.1). For Relu, LeakyRelu and PRelu, y / x is the derivative. Where x is 0, so is its
relevance; the multiplier there is y / x nearby, or 0 where y / x has no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .registry import LrpPass, Multipliers, own_gradient, relevance
from .rules import through_rectifier

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node

# Nearer to 0 than this, y / x is not computed.
_NEAR, _NEAR_HALF = 1e-6, 1e-3


def passed(op: Emitter, m: str, x: str, y: str) -> str:
    """m y / x, 0 where x is as good as 0: relevance cannot be given to what is not there."""
    near = _NEAR_HALF if op.dtype(x) == np.float16 else _NEAR
    there = op.Greater(op.Abs(x), near)
    ratio = op.Div(y, op.Where(there, x, 1.0))
    return op.Mul(m, op.Where(there, ratio, 0.0))


@relevance("Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Abs", "Neg", "Identity")
def homogeneous(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    """y / x is the derivative. A slope that depends on the input counts as a constant."""
    whole = through_rectifier(node, m, op, lrp) if node.op_type == "Relu" else None
    if whole is not None:
        return whole
    result = own_gradient(node, [m], op)
    assert not isinstance(result, Mapping)
    return result[:1]


@relevance(
    *"""Sigmoid HardSigmoid Tanh HardSwish Swish Gelu Mish Elu Celu Selu Softplus Softsign Shrink Clip Erf Exp Log Sqrt
    Reciprocal Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh""".split()
)
def function(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    whole = through_rectifier(node, m, op, lrp) if node.op_type == "Clip" else None
    return [passed(op, m, node.inputs[0], node.outputs[0])] if whole is None else whole


@relevance("Pow")
def power(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    """The base takes all; of a constant base, the exponent."""
    index = 0 if node.wants[0] else 1
    return [None] * index + [passed(op, m, node.inputs[index], node.outputs[0])]


@relevance("Max", "Min")
def extremum(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    """The winner takes all. Against constants it is a function of one value, Clip in other words."""
    wanted = [i for i, want in enumerate(node.wants) if want]
    if len(wanted) != 1 or len(node.inputs) == 1:
        return own_gradient(node, [m], op)
    x, y = node.inputs[wanted[0]], node.outputs[0]
    return [None] * wanted[0] + [passed(op, m, x, y)]
