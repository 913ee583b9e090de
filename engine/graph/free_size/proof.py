"""The proof behind `make_free.free_size`: its state, and the registry of rules.

A rule sees one node of which at least one input carries the picture. It records the node and where the picture's height
and width lie in its outputs, or raises SizeRefused with the reason. Rules stand in `rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto

from ...proto.writer import Writer
from ..model import Model

Places: TypeAlias = tuple[int, int]


class SizeRefused(Exception):
    """The node does something of its own at one size only, or it cannot be proven that it does not."""


class Walk(Writer):
    """The state of the proof, and the new graph as far as it is written.

    Attribute: `places` (value -> its axes of height and width; every other value has the same shape at any size).
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model.values)
        self.model = model
        self.places: dict[str, Places] = {}

    def carry(self, node: NodeProto, places: Places | None) -> None:
        """The node is kept; height and width lie at `places` in its outputs, None where they are averaged out."""
        self.add(node)
        if places is not None:
            self.places.update((name, places) for name in node.output if name)

    def rank(self, name: str) -> int:
        rank = self.model.values[name].rank
        if rank is None:
            raise SizeRefused(f"the number of axes of {name!r} is not known")
        return rank

    def constant(self, name: str) -> np.ndarray:
        found = None if name in self.places else self.model.constant(name)
        if found is None:
            raise SizeRefused(f"its argument {name!r} is not constant")
        return found

    def numbers(self, name: str) -> list[Any]:
        """A constant argument as a flat list."""
        found: list[Any] = self.constant(name).reshape(-1).tolist()
        return found

    def fixed(self, names: Iterable[str]) -> None:
        """Arguments that must not depend on the size."""
        for name in names:
            if name in self.places:
                raise SizeRefused(f"its argument {name!r} depends on the size")

    def data(self, node: NodeProto) -> tuple[int, Places]:
        """Rank and places of the first input, which must be the only one that carries the picture."""
        if not node.input or node.input[0] not in self.places:
            raise SizeRefused("its first input does not depend on the size, another one does")
        self.fixed(node.input[1:])
        return self.rank(node.input[0]), self.places[node.input[0]]

    def maps(self, node: NodeProto) -> Places:
        """The places of the first input, which must be maps (N, C, H, W)."""
        rank, places = self.data(node)
        if (rank, places) != (4, (2, 3)):
            raise SizeRefused("its input is not a picture with height and width in the last two axes")
        return places

    def store(self, near: str, array: np.ndarray) -> str:
        """A new constant."""
        return self.initializer(self.fresh(f"{near}/size"), array)

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


Rule = Callable[[Walk, NodeProto], None]
RULES: dict[tuple[str, str], Rule] = {}


def rule(names: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Decorator: the rule of these operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(((domain, name) for name in names.split()), function))
        return function

    return register
