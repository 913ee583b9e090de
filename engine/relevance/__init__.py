"""Layer-wise relevance propagation (LRP): the registry of rules, and tables of them for `vjp`.

LRP (Bach et al. 2015, PLOS ONE 10(7): e0130140; Montavon et al. 2019, "Layer-Wise Relevance Propagation: An
Overview") hands the score back from layer to layer. What a unit y_j gets is shared out among the values x_i that it was
made of, in proportion to their contributions z_ij; nothing is added, and only the share of constants (biases) is lost:

    R_i = sum_j  z_ij / (sum_i z_ij + what constants contributed)  R_j

Here the relevance of a value is carried as a *multiplier* m = R / value, so that R_j = y_j m_j. A multiplier is to
relevance what a cotangent is to a gradient, and the two take the same way: through whatever is linear, the relevance
shared out in proportion to contributions is the ordinary vector-Jacobian product of the multipliers. Only three kinds
of operators need a rule of their own, written like those of `gradients/` and passed to `vjp` in their place:

    layers with weights     `layers.py`, `rules.py`   epsilon, gamma, z-plus, alpha-beta; flat, w-square, box
    elementwise functions   `elementwise.py`          relevance passes unchanged: m_x = m_y y / x
    products of two values  `products.py`             a gate counts as a constant, the signal takes all
    normalisation           `normalization.py`        statistics count as constants

`linear.py` lists the operators whose gradient is their rule, and those that refuse.

Between the network's input and its first layer with weights lie moves and the normalisation of pixels (`zone.py`).
There relevance itself is carried: it passes the normalisation as it is, and the first layer may have a rule that gives
relevance to pixels of value 0 too. The pullback therefore ends with the relevance of the input, not its multiplier.

Adding an operator
------------------
    @relevance("Tanh")
    def tanh(node, multipliers, op, lrp):
        (m,) = multipliers
        return [op.Mul(m, op.Div(node.outputs[0], node.inputs[0]))]

in a module of this package: as `@gradient` in `gradients/`, with multipliers in place of cotangents; `lrp` (`Lrp`)
knows the composite and the zone. An operator needs an entry in `gradients/` as well, whose options hold here too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from .. import gradients
from ..errors import NoGradient
from ..gradients import Cotangents, Gradient
from ..proto.nodes import reads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..emitter.emitter import Emitter, Node
    from ..gradients import Rule

Multipliers: TypeAlias = "Sequence[str | None]"
RelevanceRule: TypeAlias = "Callable[[Node, Multipliers, Emitter, Lrp], Multipliers | Mapping[str, str]]"

REMEDY = "take `gradient`, `input-x-gradient` or `integrated-gradients`, or an earlier target"


class Relevances(dict[str, str]):
    """What a rule returns that has made relevance of multipliers itself: value of the zone -> relevance."""


@dataclass(frozen=True)
class Composite:
    """Which rule each kind of layer follows, and the rules' parameters.

    conv      convolutions
    dense     matrix products; also convolutions of 1x1 maps, and the last layer before the score, whatever it is
    first     the first layer with weights: "same" as its kind, or a rule for inputs: "flat", "w-square", "box"
    bias      whether biases take their share of the relevance (and keep it)
    low, high the least and greatest value of the input, broadcastable to it: for "box"
    """

    conv: str
    dense: str
    first: str = "same"
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    bias: bool = True
    low: NDArray[np.float32] | None = None
    high: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Lrp:
    """One propagation: the composite, and the places of the graph that it must know. All by value names.

    input     whose relevance is asked for
    zone      values from the input up to the first layers with weights: see `zone.py`
    last      outputs of the layers with weights that no other one follows
    """

    composite: Composite
    input: str
    zone: frozenset[str]
    last: frozenset[str]


class Table(Mapping["str | tuple[str, str]", "Rule"]):
    """Rules for `vjp`, one for each differentiable operator; `name` is what the metadata of its model say."""

    def __init__(self, lrp: Lrp, name: str = "lrp") -> None:
        self.lrp, self.name = lrp, name
        self._rules: dict[str | tuple[str, str], Rule] = {
            k: _adapted(k, e, lrp) for k, e in gradients.entries() if isinstance(e, Gradient)
        }

    def __getitem__(self, key: str | tuple[str, str]) -> Rule:
        return self._rules[key]

    def __iter__(self) -> Iterator[str | tuple[str, str]]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


_RULES: dict[tuple[str, str], RelevanceRule] = {}


def relevance(*op_types: str, domain: str = "") -> Callable[[RelevanceRule], RelevanceRule]:
    """Register the decorated function as the relevance rule of `op_types`."""

    def register(rule: RelevanceRule) -> RelevanceRule:
        for op_type in op_types:
            if _RULES.setdefault(gradients.key(domain, op_type), rule) is not rule:
                raise ValueError(f"operator {op_type!r} of domain {domain!r} has two relevance rules")
        return rule

    return register


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def find(domain: str, op_type: str) -> RelevanceRule | None:
    """The relevance rule of an operator, None where there is none."""
    _discover()
    return _RULES.get(gradients.key(domain, op_type))


def own_gradient(node: Node, cotangents: Cotangents, op: Emitter) -> Sequence[str | None] | Mapping[str, str]:
    """What the registry of gradients gives for the node."""
    entry = gradients.find(node.domain, node.op_type)
    assert isinstance(entry, Gradient)
    return entry.rule(node, cotangents, op)


def no_rule(node: Node, why: str) -> NoGradient:
    """The error to raise where relevance cannot be propagated."""
    operator = node.op_type if not node.domain else f"{node.domain}::{node.op_type}"
    return NoGradient(f"no relevance rule for {operator!r} (node {node.label!r}): {why}; {REMEDY}")


def _adapted(key: tuple[str, str], entry: Gradient, lrp: Lrp) -> Rule:
    """The operator's relevance rule as one of `gradients/`: in the zone it carries relevance, before it multipliers."""
    from . import zone

    rule = find(*key)

    def adapted(node: Node, multipliers: Cotangents, op: Emitter) -> Sequence[str | None] | Mapping[str, str]:
        if any(name in lrp.zone for name in node.outputs):
            return zone.carried_back(node, multipliers, op, lrp)
        if rule is None:
            raise no_rule(node, "none is known for this operator")
        result = rule(node, multipliers, op, lrp)
        if isinstance(result, Relevances):
            return result
        if isinstance(result, Mapping):
            # What a subgraph reads from outside has become relevance inside.
            border = lrp.zone.difference(set(reads(node.proto)).difference(node.inputs))
            return {name: op.Mul(m, name) if name in border else m for name, m in result.items()}
        pairs = zip(result, node.inputs, strict=False)
        return [op.Mul(m, name) if m is not None and name in lrp.zone else m for m, name in pairs]

    return adapted
