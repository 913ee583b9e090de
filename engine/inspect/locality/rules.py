"""The registry of rules: which interval of a node's input an interval of its output reads, axis by axis.

    @rule("Transpose")                       one input is data, the others are constants
    def transpose(node, axes): ...           -> {axis of the output: Link(axis of the input, reach)}

    @joining_rule("Concat")                  several inputs are data
    def concat(node): ...                    -> {input: {axis of the output: Link}}

A rule is asked for the axes that are followed, and answers for these. It raises Mixing where one position of such an
axis depends on all of them, or where it cannot tell; an operator without a rule mixes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from onnx import NodeProto

from ...graph.model import Model
from ...proto.attributes import attributes, axis_of
from ...proto.values import Shape
from .reach import SAME, Reach

Sizes: TypeAlias = Mapping[str, "tuple[int, ...] | None"]
Axes: TypeAlias = tuple[int, ...]


class Mixing(Exception):
    """The node mixes positions of an axis that is followed, or is not understood."""


@dataclass(frozen=True)
class Link:
    """Where an axis of an output comes from: from which axis of the input, and how that one is read.

    exact: False where `reach` is a bound that holds, but not the least one.
    """

    axis: int
    reach: Reach = SAME
    exact: bool = True


Links: TypeAlias = dict[int, Link]


class LocalNode:
    """A node whose inputs `followed` (name -> axes) are followed, and what is known of the values around it."""

    def __init__(self, model: Model, node: NodeProto, followed: Mapping[str, Axes], sizes: Sizes) -> None:
        self.model, self.node, self.followed, self.sizes = model, node, followed, sizes
        self.op = node.op_type
        self.inputs = list(node.input)
        self.given: dict[str, Any] = attributes(node)

    def shape(self, name: str) -> Shape:
        """In numbers, as far as known. Raises Mixing where not even the rank is."""
        value = self.model.values.get(name)
        found = self.sizes.get(name) or (value.shape if value else None)
        if found is None:
            raise Mixing
        return found

    @property
    def before(self) -> Shape:
        """The shape of the first input."""
        return self.shape(self.inputs[0])

    @property
    def after(self) -> Shape:
        """The shape of the first output."""
        return self.shape(self.node.output[0])

    @property
    def rank(self) -> int:
        """Of the first input."""
        return len(self.before)

    def axis(self, default: int) -> int:
        """The attribute `axis`, counted from the front of the first input. Raises ModelError if there is none such."""
        return axis_of(self.node, self.given.get("axis", default), self.rank)

    def only_first(self) -> Axes:
        """The axes of the first input. Raises Mixing where another one is followed."""
        name = self.inputs[0]
        if set(self.followed) != {name} or name in self.inputs[1:]:
            raise Mixing
        return self.followed[name]


JoiningRule: TypeAlias = Callable[[LocalNode], dict[str, Links]]
Rule: TypeAlias = Callable[[LocalNode, Axes], Links]
RULES: dict[tuple[str, str], JoiningRule] = {}


def joining_rule(names: str | Iterable[str], domain: str = "") -> Callable[[JoiningRule], JoiningRule]:
    """Registers the rule of the operators `names` with several data inputs."""
    split = names.split() if isinstance(names, str) else names

    def register(function: JoiningRule) -> JoiningRule:
        RULES.update(dict.fromkeys(((domain, name) for name in split), function))
        return function

    return register


def rule(names: str | Iterable[str], domain: str = "") -> Callable[[Rule], Rule]:
    """Registers the rule of the operators `names` whose first input is the only data."""

    def register(function: Rule) -> Rule:
        joining_rule(names, domain)(lambda node: {node.inputs[0]: function(node, node.only_first())})
        return function

    return register


def kept(axes: Iterable[int]) -> Links:
    """Every axis stays where it is, position by position."""
    return {axis: Link(axis) for axis in axes}


def renumbered(places: Mapping[int, int]) -> Links:
    """Axes move from the keys to the values, position by position."""
    return {place: Link(axis) for axis, place in places.items()}


def without(axes: Axes, gone: Sequence[int]) -> Links:
    """The axes `gone` are dropped, the others move up. Raises Mixing where one of them is followed."""
    if any(axis in gone for axis in axes):
        raise Mixing
    return renumbered({axis: axis - sum(g < axis for g in gone) for axis in axes})
