"""Backward rules that replace the derivative of rectifiers: "guided" and "deconvnet".

Deconvnet (Zeiler & Fergus, ECCV 2014, section 2.1) sends the signal coming from above through the layer's own rectifier
and ignores what the layer saw on the way up; max pooling goes back through its switches, which is the rule of MaxPool
anyway. Guided backpropagation (Springenberg, Dosovitskiy, Brox and Riedmiller, arXiv:1412.6806, section 3.3) demands
both: the signal passes that rectifier and the layer's own derivative. With f the layer and dy the cotangent of its
output:

                    derivative      deconvnet       guided
    rectifier f     f'(x) dy        f(dy)           f'(x) f(dy)

Decided for each rectifier-like operator:

    Relu, ThresholdedRelu   f(dy) = max(dy, 0)
    Clip with minimum 0     a ReLU6 is a ReLU with a ceiling. The ceiling bounds values, not signals: f(dy) =
                            max(dy, 0), and f'(x) is 0 at the ceiling too. Other clips are no rectifiers and keep
                            their derivative.
    LeakyRelu, PRelu        the leak is part of the rectifier: f(dy) = dy where dy > 0, else slope * dy
    HardSwish, SiLU (Swish), GELU, Mish, ELU, SELU, CELU, Softplus, Sigmoid, Tanh
                            keep their derivative: they cut no half-line off, and most exporters write them as several
                            nodes; this way the picture does not depend on the exporter. On a network with only these,
                            guided and deconvnet maps equal the gradient.

Both are visualisations, not derivatives; they barely change when weights are randomised (Adebayo et al., NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import gradients
from ..gradients.registry import Cotangents, Gradient, RuleOfOne

if TYPE_CHECKING:
    from onnx import NodeProto

    from ..emitter.emitter import Emitter
    from ..emitter.node import Node


def _relu(node: Node, dy: str, op: Emitter) -> str:
    return op.Relu(dy)


def _leaky(node: Node, dy: str, op: Emitter) -> str:
    return op.LeakyRelu(dy, alpha=node.attribute("alpha", 0.01))


def _prelu(node: Node, dy: str, op: Emitter) -> str:
    return op.PRelu(dy, node.inputs[1])


def _clip(node: Node, dy: str, op: Emitter) -> str | None:
    low = node.input(1)
    bound = None if low is None else op.constant_value(low)
    if bound is None or bound.size != 1 or bound.item() != 0:
        return None
    return op.Relu(dy)


RECTIFIERS: Mapping[str, Callable[[Node, str, Emitter], str | None]] = {
    "Relu": _relu,
    "ThresholdedRelu": _relu,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Clip": _clip,
}


def rectifies(node: NodeProto, constant: Callable[[str], Any]) -> bool:
    """Whether the rules change how a signal goes back through a node. constant: the value of a name, or None."""
    if node.op_type not in RECTIFIERS or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type != "Clip":
        return True
    bound = constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    return bound is not None and np.size(bound) == 1 and float(np.asarray(bound).item()) == 0


def _own(op_type: str) -> Gradient:
    entry = gradients.find("", op_type)
    assert isinstance(entry, Gradient)
    return entry


def _deconvnet(op_type: str) -> RuleOfOne:
    def rule(node: Node, dy: str, op: Emitter) -> Cotangents | Mapping[str, str]:
        rectified = RECTIFIERS[op_type](node, dy, op)
        return _own(op_type).rule(node, [dy], op) if rectified is None else [rectified]

    return rule


def _guided(op_type: str) -> RuleOfOne:
    def rule(node: Node, dy: str, op: Emitter) -> Cotangents | Mapping[str, str]:
        rectified = RECTIFIERS[op_type](node, dy, op)
        return _own(op_type).rule(node, [dy if rectified is None else rectified], op)

    return rule


TABLES: Mapping[str, Mapping[str, RuleOfOne]] = {
    "guided": {op_type: _guided(op_type) for op_type in RECTIFIERS},
    "deconvnet": {op_type: _deconvnet(op_type) for op_type in RECTIFIERS},
}
