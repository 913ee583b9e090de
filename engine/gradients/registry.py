"""The registry of gradients."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from onnx import NodeProto

from ..errors import GradientError

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node

Cotangents: TypeAlias = "Sequence[str | None]"
Rule: TypeAlias = "Callable[[Node, Cotangents, Emitter], Cotangents | Mapping[str, str]]"
# Of operators with one differentiable output, the first; its second parameter is called `dy`.
RuleOfOne: TypeAlias = "Callable[[Node, str, Emitter], Cotangents | Mapping[str, str]]"
AnyRule: TypeAlias = "Rule | RuleOfOne"
Written = TypeVar("Written", bound="AnyRule")
Decomposition: TypeAlias = "Callable[[Node, Emitter], Sequence[str | None] | None]"


@dataclass(frozen=True)
class Gradient:
    """A rule and what the driver has to know of it.

    rule        takes the cotangents of all outputs, however it was written
    inputs      the inputs that may have a cotangent; None: all of them
    broadcasts  the output has the shape that all inputs broadcast to; cotangents may come in it and are reduced
    carries     integers stand for real numbers here (quantisation): cotangents of integer values are let through
    given       the rule is the caller's own: what it raises is passed on as it is
    """

    rule: Rule
    inputs: frozenset[int] | None = None
    broadcasts: bool = False
    carries: bool = False
    given: bool = False


@dataclass(frozen=True)
class Constant:
    """The operator's outputs do not depend differentiably on its inputs; why."""

    reason: str


@dataclass(frozen=True)
class Refusal:
    """The operator's outputs depend on its inputs, but no gradient can be given; why, and what to do."""

    reason: str


Entry: TypeAlias = "Gradient | Constant | Refusal"
_ENTRIES: dict[tuple[str, str], Entry] = {}
_DECOMPOSITIONS: dict[tuple[str, str], Decomposition] = {}


def key(domain: str, op_type: str) -> tuple[str, str]:
    return ("" if domain == "ai.onnx" else domain, op_type)


def _register(domain: str, op_types: tuple[str, ...], entry: Entry) -> None:
    for op_type in op_types:
        if _ENTRIES.setdefault(key(domain, op_type), entry) is not entry:
            raise ValueError(f"operator {op_type!r} of domain {domain!r} is registered twice")


def takes_one(
    rule: Callable[..., Any], one: str, every: str, others: Sequence[str], what: str, strict: bool = True
) -> bool:
    """Whether `rule(node, <second>, *others)` takes the value of one output, `one`, rather than those of all, `every`.

    The name of the second parameter decides. strict: the other parameters' names count too; else only their number,
    and a second parameter of any other name takes all values. Raises GradientError, with `what` as its subject, if the
    parameters do not fit.
    """
    signature = inspect.signature(rule)
    names = list(signature.parameters)
    fits = one not in names or names.index(one) == 1
    if strict:
        fits = fits and names in (["node", second, *others] for second in (one, every))
    else:
        try:
            signature.bind(None, None, *others)
        except TypeError:
            fits = False
    if not fits:
        after = ", ".join(others)
        raise GradientError(
            f"{what} has the parameters {signature}: write (node, {one}, {after}) for an operator with one "
            f"differentiable output, (node, {every}, {after}) for any other"
        )
    return names[1:2] == [one]


def of_first(node: Node, values: Sequence[str | None], op: Emitter, one: str, every: str) -> str | None:
    """The first output's cotangent (or multiplier), for a rule that takes that one only; None: there is nothing to do.

    Raises GradientError where something flows back into another float output as well.
    """
    for name, value in zip(node.outputs[1:], values[1:], strict=False):
        if value is not None and op.is_float(name):
            raise GradientError(
                f"the rule of {node.op_type!r} (node {node.label!r}) takes `{one}`, which is of the first output, and "
                f"its output {name!r} is used too: write the rule with `{every}`, those of all outputs"
            )
    return values[0]


def of_all_outputs(rule: AnyRule, what: str, strict: bool = False) -> Rule:
    """`rule` as the driver calls it: with the cotangents of all outputs. See `takes_one` for `what` and `strict`."""
    if not takes_one(rule, "dy", "cotangents", ("op",), what, strict):
        return rule  # type: ignore[return-value]

    def adapted(node: Node, cotangents: Cotangents, op: Emitter) -> Cotangents | Mapping[str, str]:
        dy = of_first(node, cotangents, op, "dy", "cotangents")
        return [] if dy is None else rule(node, dy, op)

    return adapted


def gradient(
    *op_types: str,
    domain: str = "",
    inputs: Sequence[int] | None = None,
    broadcasts: bool = False,
    carries: bool = False,
) -> Callable[[Written], Written]:
    """Register the decorated function as the rule of `op_types`; the options are the fields of `Gradient`.

    Raises GradientError if its parameters are neither (node, dy, op) nor (node, cotangents, op).
    """

    def register(rule: Written) -> Written:
        chosen = None if inputs is None else frozenset(inputs)
        adapted = of_all_outputs(rule, f"the rule of {', '.join(op_types)}", strict=True)
        _register(domain, op_types, Gradient(adapted, chosen, broadcasts, carries))
        return rule

    return register


def constant(*op_types: str, reason: str, domain: str = "") -> None:
    """Declare that the outputs of `op_types` have no useful derivative with respect to any input, and why."""
    _register(domain, op_types, Constant(reason))


def refuse(*op_types: str, reason: str, domain: str = "") -> None:
    """Declare that a gradient through `op_types` cannot be had; `reason` says why and what the user can do."""
    _register(domain, op_types, Refusal(reason))


def decompose(*op_types: str, domain: str = "") -> Callable[[Decomposition], Decomposition]:
    """Register a rewriting into other operators, applied to nodes on the differentiated path that have no rule.

    The function gets (node, op), emits the replacement and returns one value name per output of the node (None for
    outputs that are left out). The driver gives these values the names of the outputs they replace. It may return None
    where it does not apply, and may emit operators that are themselves decomposed.
    """

    def register(function: Decomposition) -> Decomposition:
        for op_type in op_types:
            if _DECOMPOSITIONS.setdefault(key(domain, op_type), function) is not function:
                raise ValueError(f"operator {op_type!r} of domain {domain!r} has two decompositions")
        return function

    return register


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name != "coverage":  # reads the registry, registers nothing
            importlib.import_module(f"{__package__}.{module.name}")


def find(domain: str, op_type: str) -> Entry | None:
    """What is registered for an operator, None where nothing is."""
    _discover()
    return _ENTRIES.get(key(domain, op_type))


def find_decomposition(domain: str, op_type: str) -> Decomposition | None:
    _discover()
    return _DECOMPOSITIONS.get(key(domain, op_type))


def entries() -> Iterator[tuple[tuple[str, str], Entry | Decomposition]]:
    """Everything registered: ((domain, operator), entry), sorted; a decomposition where there is no entry."""
    _discover()
    both: dict[tuple[str, str], Entry | Decomposition] = {**_DECOMPOSITIONS, **_ENTRIES}
    yield from sorted(both.items(), key=lambda item: item[0])


def has_usual_rule(op: Emitter, node: NodeProto) -> bool:
    """Whether the node is differentiated by the registry's own rule and no other one."""
    return op.lookup is None or op.lookup(node) is find(node.domain, node.op_type)
