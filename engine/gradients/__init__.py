"""The registry of gradients: one rule per operator, grouped into files.

Adding an operator
------------------
Write one function in the file where its relatives are (any module of this package is found by itself):

    @gradient("Relu")
    def relu(node, cotangents, op):
        (dy,) = cotangents
        y = node.outputs[0]
        return [op.Where(op.Greater(y, 0.0), dy, 0.0)]

`node` (`emitter.Node`) is the node being differentiated: `node.inputs`, `node.outputs` (value names, "" where left
out), `node.input(i)` (None where left out), `node.attribute(name, default)`, `node.wants[i]` (is the cotangent of input
i used at all? ask before emitting something expensive).
`cotangents` holds one value name per output, None where nothing flows back into that output; at least one is a name. A
cotangent always has the type and the shape of its value.
`op` (`emitter.Emitter`) emits nodes: `op.Mul(a, b)` returns the name of the output, `outputs=2` returns a tuple,
`op.Conv(x, w, strides=[2, 2])` sets attributes. A bare number becomes a constant of the type that the slot needs, a
list of ints an int64 constant, an array a constant as it is, None leaves an input out. It also knows types and shapes:
`op.dtype(x)`, `op.rank(x)`, `op.shape(x)`, `op.shape_of(x)`, `op.constant_value(x)`, `op.opset`: see
`emitter/emitter.py`.

The rule returns one value name per input, None for inputs without a cotangent (trailing Nones may be left off). What
the driver (`autodiff/vjp.py`) does, rules must not: summing the cotangents of a value that is read several times;
reducing a broadcast, for operators registered with `broadcasts=True` (their output has the shape that all inputs
broadcast to, and a cotangent may keep it); dropping what nobody asked for. A rule whose node captures outer values (If,
Loop) may return a mapping value -> cotangent instead.

Rules see opset 18 or newer (the driver upgrades first); where a later version changed a meaning they look at
`op.opset`. They emit standard operators only, in a form that is valid and means the same in every opset from 18 on;
they read values after an activation rather than before it where they can (the runtime fuses Conv + Relu only if nobody
reads what is between them).

    constant("Shape", "Size", reason="...")     derivative zero or undefined everywhere: the dependence ends there
    refuse("ConvInteger", reason="...")         depends on its inputs, but there is no gradient: an error if on the path
    @decompose("Gelu", domain="com.microsoft")  rewritten into other operators before differentiation: see `decompose`
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter, Node

Cotangents: TypeAlias = "Sequence[str | None]"
Rule: TypeAlias = "Callable[[Node, Cotangents, Emitter], Cotangents | Mapping[str, str]]"
Decomposition: TypeAlias = "Callable[[Node, Emitter], Sequence[str | None] | None]"


@dataclass(frozen=True)
class Gradient:
    """A rule and what the driver has to know of it.

    inputs      the inputs that may have a cotangent; None: all of them
    broadcasts  the output has the shape that all inputs broadcast to; cotangents may come in it and are reduced
    carries     integers stand for real numbers here (quantisation): cotangents of integer values are let through
    """

    rule: Rule
    inputs: frozenset[int] | None = None
    broadcasts: bool = False
    carries: bool = False


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


def gradient(
    *op_types: str,
    domain: str = "",
    inputs: Sequence[int] | None = None,
    broadcasts: bool = False,
    carries: bool = False,
) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of `op_types`; the options are the fields of `Gradient`."""

    def register(rule: Rule) -> Rule:
        chosen = None if inputs is None else frozenset(inputs)
        _register(domain, op_types, Gradient(rule, chosen, broadcasts, carries))
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
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


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
