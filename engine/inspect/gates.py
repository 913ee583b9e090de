"""Activation functions that exporters write as several nodes, which a product ends.

    x sigmoid(x)                                            Swish, SiLU
    x sigmoid(1.702 x)                                      QuickGelu
    x hardsigmoid(x)                                        HardSwish
    x/2 (1 + erf(x / sqrt 2))                               Gelu
    x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))         Gelu, its approximation

The factors may come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx import NodeProto

from ..graph.model import Model
from ..proto.nodes import plain_domain

_SIGMOIDS = {"Sigmoid": "Swish", "HardSigmoid": "HardSwish"}
_INSIDE = frozenset("Mul Div Add Sub Pow Erf Tanh Sigmoid HardSigmoid".split())
# Nodes from the input of such a function to its end, at most.
_LONGEST = 10


@dataclass(frozen=True)
class Gate:
    """An activation function of several nodes: its name as an operator, its input `source`, its last value `end`."""

    function: str
    source: str
    end: str

    def inside(self, model: Model) -> frozenset[str]:
        """The values between its input and its end."""
        return model.ancestors(self.end) - model.ancestors(self.source) - {self.end}


def gate_ending_at(model: Model, value: str) -> Gate | None:
    """The activation function of several nodes that gives `value`, or None."""
    node = _made_by(model, value, "Mul")
    if node is None or len(node.input) != 2:
        return None
    for x, factor in (node.input, node.input[::-1]):
        if _number(model, factor) is not None:
            inner = gate_ending_at(model, x)
            if inner is not None and inner.function == "Gelu":
                return replace(inner, end=value)
        found = _swish(model, x, factor) or _gelu(model, x, factor)
        if found is not None:
            return Gate(found[0], found[1], value)
    return None


def gate_from(model: Model, value: str) -> Gate | None:
    """The activation function of several nodes that `value` goes into, as far as it reaches; None where none does."""
    found, front, seen = None, [value], {value}
    for _ in range(_LONGEST):
        front = [
            str(node.output[0])
            for name in front
            for node in model.consumers(name)
            if node.op_type in _INSIDE and len(node.output) == 1
        ]
        front = [name for name in dict.fromkeys(front) if name not in seen]
        seen.update(front)
        for name in front:
            gate = gate_ending_at(model, name)
            if gate is not None and gate.source == value:
                found = gate
    return found


def _swish(model: Model, x: str, factor: str) -> tuple[str, str] | None:
    maker = model.producer(factor)
    if maker is None or maker.op_type not in _SIGMOIDS or plain_domain(maker.domain) != "":
        return None
    if maker.input[0] == x:
        return _SIGMOIDS[maker.op_type], x
    return ("QuickGelu", x) if maker.op_type == "Sigmoid" and x in _multiples(model, maker.input[0]) else None


def _gelu(model: Model, x: str, factor: str) -> tuple[str, str] | None:
    for name in _multiples(model, factor):
        total = _made_by(model, name, "Add")
        if total is None:
            continue
        for bent, one in (total.input, total.input[::-1]):
            if _number(model, one) != 1:
                continue
            erf, tanh = (_made_by(model, bent, op) for op in ("Erf", "Tanh"))
            for source in _multiples(model, x):
                if (erf is not None and source in _multiples(model, erf.input[0])) or (
                    tanh is not None and _is_of(model, tanh.input[0], source, _LONGEST)
                ):
                    return "Gelu", source
    return None


def _multiples(model: Model, name: str) -> list[str]:
    """The value, and those that it is a constant multiple of."""
    found = [name]
    while (node := model.producer(found[-1])) is not None and node.op_type in ("Mul", "Div") and len(found) < _LONGEST:
        first, second = node.input
        if _number(model, second) is not None:
            found.append(str(first))
        elif node.op_type == "Mul" and _number(model, first) is not None:
            found.append(str(second))
        else:
            break
    return found


def _is_of(model: Model, name: str, source: str, depth: int) -> bool:
    """Whether a value is a polynomial of `source` and of nothing else."""
    if name == source or _number(model, name) is not None:
        return True
    node = model.producer(name)
    if node is None or depth == 0 or node.op_type not in ("Mul", "Add", "Sub", "Div", "Pow"):
        return False
    return all(_is_of(model, part, source, depth - 1) for part in node.input)


def _made_by(model: Model, name: str, op: str) -> NodeProto | None:
    node = model.producer(name)
    return node if node is not None and node.op_type == op and plain_domain(node.domain) == "" else None


def _number(model: Model, name: str) -> float | None:
    """A constant that is one number."""
    array = model.constant(name)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
