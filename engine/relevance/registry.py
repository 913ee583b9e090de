"""The registry of relevance rules."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .. import gradients
from ..errors import NoGradient
from ..gradients.registry import Cotangents, Gradient, of_first, takes_one

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..emitter.emitter import Emitter
    from ..emitter.node import Node

Multipliers: TypeAlias = "Sequence[str | None]"
RelevanceRule: TypeAlias = "Callable[[Node, Multipliers, Emitter, LrpPass], Multipliers | Mapping[str, str]]"
# Of operators with one output that relevance comes to, the first; its second parameter is called `m`.
RelevanceRuleOfOne: TypeAlias = "Callable[[Node, str, Emitter, LrpPass], Multipliers | Mapping[str, str]]"
Written = TypeVar("Written", bound="RelevanceRule | RelevanceRuleOfOne")

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

    @property
    def key(self) -> Hashable:
        """Equal for composites that compute the same."""
        limits = tuple(None if a is None else (a.shape, a.tobytes()) for a in (self.low, self.high))
        return self.conv, self.dense, self.first, self.epsilon, self.gamma, self.alpha, self.bias, limits


@dataclass(frozen=True)
class LrpPass:
    """One propagation: the composite, and the places of the graph that it must know. All by value names.

    input     whose relevance is asked for
    zone      values from the input up to the first layers with weights: see `zone.py`
    last      outputs of the layers with weights that no other one follows
    """

    composite: Composite
    input: str
    zone: frozenset[str]
    last: frozenset[str]


_RULES: dict[tuple[str, str], RelevanceRule] = {}


def _of_all_outputs(rule: RelevanceRule | RelevanceRuleOfOne, what: str) -> RelevanceRule:
    """`rule` as `Table` calls it: with the multipliers of all outputs."""
    if not takes_one(rule, "m", "multipliers", ("op", "lrp"), what):
        return rule  # type: ignore[return-value]

    def adapted(node: Node, multipliers: Multipliers, op: Emitter, lrp: LrpPass) -> Multipliers | Mapping[str, str]:
        m = of_first(node, multipliers, op, "m", "multipliers")
        return [] if m is None else rule(node, m, op, lrp)

    return adapted


def relevance(*op_types: str, domain: str = "") -> Callable[[Written], Written]:
    """Register the decorated function as the relevance rule of `op_types`.

    Raises GradientError if its parameters are neither (node, m, op, lrp) nor (node, multipliers, op, lrp).
    """

    def register(rule: Written) -> Written:
        adapted = _of_all_outputs(rule, f"the relevance rule of {', '.join(op_types)}")
        for op_type in op_types:
            if _RULES.setdefault(gradients.key(domain, op_type), adapted) is not adapted:
                raise ValueError(f"operator {op_type!r} of domain {domain!r} has two relevance rules")
        return rule

    return register


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


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
    # Where there is no gradient either, whoever asked for it says which methods need none.
    has_gradient = isinstance(gradients.find(node.domain, node.op_type), Gradient)
    remedy = REMEDY if has_gradient else "take an earlier target"
    return NoGradient(f"no relevance rule for {operator!r} (node {node.label!r}): {why}; {remedy}")
