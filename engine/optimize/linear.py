"""The linear value before an activation function, which has a slope everywhere.

Behind a rectifier an objective sees no slope where the unit is silent, and none at the ceiling of a ReLU6. What goes
into the function is read in its place, also where it is written as several nodes (`inspect/gates.py`); through
concatenations too, whose parts may each end in one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.model import Model
from ..inspect.gates import gate_ending_at, gate_from
from ..proto.attributes import attributes
from ..proto.nodes import plain_domain

# Monotone in the main, so that more of their input is more of their output.
ACTIVATIONS = frozenset(
    """Relu Clip LeakyRelu PRelu Elu Selu Celu Gelu HardSwish HardSigmoid Sigmoid Softplus Softsign Swish Mish Tanh
    ThresholdedRelu QuickGelu FastGelu""".split()
)
_PASSES_ON = frozenset("Identity Dropout".split())


@dataclass(frozen=True)
class Linear:
    """Where the linear value stands: `name`, or `parts` that are joined along `axis`; one of them."""

    name: str = ""
    parts: tuple[Linear, ...] = ()
    axis: int = 0

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the graph that it is made of."""
        return (self.name,) if self.name else tuple(v for part in self.parts for v in part.values)


def linear_value(model: Model, value: str) -> Linear:
    """What `value` is before the activation function that makes it; itself where none does."""
    node = model.producer(value)
    if node is None or plain_domain(node.domain) not in ("", "com.microsoft"):
        return Linear(value)
    if node.op_type in _PASSES_ON or node.op_type in ACTIVATIONS:
        before = node.input[0]
        return linear_value(model, before) if node.op_type in _PASSES_ON else Linear(before)
    if node.op_type == "Mul" and (gate := gate_ending_at(model, value)) is not None:
        return Linear(gate.source)
    if node.op_type == "Concat":
        parts = tuple(linear_value(model, name) for name in node.input)
        if any(part != Linear(name) for part, name in zip(parts, node.input, strict=True)):
            return Linear(parts=parts, axis=int(attributes(node).get("axis", 0)))
    return Linear(value)


def activated(model: Model, value: str) -> str:
    """`value` behind the activation function that follows it as the only reader; itself where none does."""
    readers = model.consumers(value)
    for node in readers:
        if node.op_type in ACTIVATIONS and node.input[0] == value and len(readers) == 1:
            return str(node.output[0])
    gate = gate_from(model, value) if len(readers) > 1 else None
    return value if gate is None else gate.end
