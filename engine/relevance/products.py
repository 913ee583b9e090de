"""Products and quotients of values that both depend on the input.

    signal times gate       the gate counts as a constant, the signal takes all the relevance (Arras et al. 2019, for
                            gated recurrent networks); SiLU and GELU, written as several nodes, come out as x f(x)
    attention times values  the attention weights count as constants (Ali et al., "XAI for Transformers", ICML 2022)
    a quotient              the divisor counts as a constant: it normalises
    any other product       both sides take half each (Achtibat et al., "AttnLRP", ICML 2024, section 3.3.2)

A gate is a value that a bounded function made (Sigmoid, HardSigmoid, Softmax, Erf, Tanh, Clip to an interval), however
it was moved, scaled or shifted since; of two the one that a Tanh made is the signal. Failing that it is the one that is
broadcast.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ..emitter.node import Node
from .affine import layer_of
from .elementwise import passed
from .registry import LrpPass, Multipliers, own_gradient, relevance
from .rules import through

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter

_MOVES = frozenset(
    """Identity Cast Transpose Reshape Flatten Squeeze Unsqueeze Expand Slice Split Gather Concat Dropout Tile Resize
    Neg Where""".split()
)
_SHIFTS = frozenset("Add Sub Mul Div Sum".split())
_BOUNDED = {"Sigmoid": 2, "HardSigmoid": 2, "Softmax": 3, "Erf": 2, "Tanh": 1}
_DEEPEST = 12


def gate_rank(op: Emitter, name: str, active: Collection[str], depth: int = 0) -> int:
    """How surely the value is a gate: 0 no; 1 a Tanh, which may be a signal; 2; 3 attention weights."""
    proto = op.producer(name)
    if proto is None or depth > _DEEPEST:
        return 0
    node = Node(proto)
    if node.op_type in _BOUNDED:
        return _BOUNDED[node.op_type]
    if node.op_type == "Clip":
        return 2 if node.input(1) and node.input(2) else 0
    sources = [i for i in node.inputs if i in active]
    if len(set(sources)) != 1 or node.op_type not in _MOVES | _SHIFTS:
        return 0
    found = gate_rank(op, sources[0], active, depth + 1)
    # 1 + tanh(u) is a gate as 1 + erf(u) is: the tail of a GELU.
    return 2 if found == 1 and node.op_type == "Add" else found


def one_sided(node: Node, m: str, op: Emitter, chosen: int) -> Sequence[str | None]:
    """One operand takes all the relevance, the others count as constants."""
    result = own_gradient(_only(node, [chosen]), [m], op)
    assert not isinstance(result, Mapping)
    return [share if i == chosen else None for i, share in enumerate(result)]


def _only(node: Node, chosen: Sequence[int]) -> Node:
    """The node with all operands but the chosen ones taken for constants."""
    kept = {node.inputs[i] for i in chosen}
    wants = [i in chosen and wanted for i, wanted in enumerate(node.wants)]
    return Node(node.proto, wants, frozenset(node.active) & kept if len(kept) == 1 else node.active, node.asked)


def both(node: Node, m: str, op: Emitter) -> Sequence[str | None]:
    """A product of two values by the rules at the head of this file; one that depends on the input takes all."""
    wanted = [i for i in range(min(2, len(node.inputs))) if node.wants[i]]
    if node.op_type == "Einsum":
        wanted = [i for i in range(len(node.inputs)) if node.wants[i]]
    if len(wanted) == 1:
        return one_sided(node, m, op, wanted[0])
    if len(wanted) == 2 and node.inputs[wanted[0]] != node.inputs[wanted[1]]:
        ranks = [gate_rank(op, node.inputs[i], node.active) for i in wanted]
        if ranks[0] != ranks[1]:
            return one_sided(node, m, op, wanted[ranks.index(min(ranks))])
        if node.op_type == "Mul":
            spread = [_is_broadcast(op, node, i) for i in wanted]
            if spread[0] != spread[1]:
                return one_sided(node, m, op, wanted[spread.index(False)])
    share = op.Div(m, float(len(wanted)))
    result = _product_gradient(node, share, op)
    return [d if i in wanted else None for i, d in enumerate(result)]


def _is_broadcast(op: Emitter, node: Node, index: int) -> bool:
    """Whether the operand is repeated along an axis."""
    own, whole = op.shape(node.inputs[index]), op.shape(node.outputs[0])
    padded = (1,) * (len(whole) - len(own)) + tuple(own)
    return any(a == 1 and b != 1 for a, b in zip(padded, whole, strict=True))


def _product_gradient(node: Node, m: str, op: Emitter) -> Sequence[str | None]:
    if node.op_type == "Mul":  # written here, since the registry's takes x sigmoid(x) for one function
        return [op.Mul(m, node.inputs[1]), op.Mul(m, node.inputs[0])]
    result = own_gradient(node, [m], op)
    assert not isinstance(result, Mapping)
    return result


@relevance("Mul")
def mul(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    layer = layer_of(node, op)
    if layer is not None:
        return through(layer, m, op, lrp)
    return both(node, m, op)


@relevance("Div")
def div(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
    """Of a constant by a value: a function of one value, which passes relevance unchanged."""
    layer = layer_of(node, op)
    if layer is not None:
        return through(layer, m, op, lrp)
    if node.wants[0]:
        return [op.Div(m, node.inputs[1]), None]
    return [None, passed(op, m, node.inputs[1], node.outputs[0])]


@relevance("SwiGLU")
def swiglu(node: Node, m: str, op: Emitter, lrp: LrpPass) -> Multipliers:
    """y = swish(a) b: half to each side, and swish passes its half unchanged."""
    m = op.Div(m, float(sum(node.wants)))
    a, b = node.inputs
    alpha = node.attribute("alpha", 1.0)
    gate = op.Mul(a, op.Sigmoid(a if alpha == 1 else op.Mul(a, alpha)))
    left = passed(op, op.Mul(m, b), a, gate) if node.wants[0] else None
    return [left, op.Mul(m, gate) if node.wants[1] else None]
