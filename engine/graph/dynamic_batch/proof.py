"""The proof behind `batch.make_dynamic`: its state, and the registry of rules.

A rule sees one node of which at least one input carries the batch. It returns after recording the node and what of its
outputs carries the batch, or raises Refused with the reason. Rules stand in `compute_rules.py` (operators that compute)
and `layout_rules.py` (operators that move values).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from ...proto.writer import Writer
from ..model import Model


class BatchRefused(Exception):
    """The node does not keep samples apart, or it cannot be proven."""


class Batch(Writer):
    """The state of the proof, and the new graph as far as it is written.

    Attribute: `carries` (values whose axis 0 is the batch).
    """

    def __init__(self, model: Model, size: int) -> None:
        super().__init__(model.values)
        self.model, self.size = model, size
        self.carries: set[str] = set()

    def carry(self, node: NodeProto) -> None:
        """The node is kept; all its outputs carry the batch."""
        self.add(node)
        self.carries.update(name for name in node.output if name)

    def rank(self, name: str) -> int:
        rank = self.model.values[name].rank
        if rank is None:
            raise BatchRefused(f"the number of axes of {name!r} is not known")
        if rank == 0 and name in self.carries:
            raise BatchRefused(f"{name!r} has no axes")
        return rank

    def constant(self, name: str) -> np.ndarray:
        if name in self.carries:
            raise BatchRefused(f"its argument {name!r} depends on the samples")
        found = self.model.constant(name)
        if found is None:
            raise BatchRefused(f"its argument {name!r} is not constant")
        return found

    def numbers(self, name: str) -> list[Any]:
        """A constant argument as a flat list."""
        found: list[Any] = self.constant(name).reshape(-1).tolist()
        return found

    def matched(self, *lists: list[Any]) -> None:
        """Arguments that belong together must be of one length."""
        if len({len(numbers) for numbers in lists}) > 1:
            raise BatchRefused("its arguments do not fit each other")

    def fixed(self, names: Iterable[str]) -> None:
        """Arguments that must not depend on the samples."""
        for name in names:
            if name in self.carries:
                raise BatchRefused(f"its argument {name!r} depends on the samples")

    def data(self, node: NodeProto) -> int:
        """Rank of the first input, which must be the only one that carries the batch."""
        if not node.input or node.input[0] not in self.carries:
            raise BatchRefused("its first input does not depend on the samples, another one does")
        self.fixed(node.input[1:])
        return self.rank(node.input[0])

    def store(self, near: str, array: np.ndarray) -> str:
        return self.initializer(self.fresh(f"{near}/batch"), array)

    def own_size(self, near: str, like: str, rest: list[int]) -> str:
        """A new value: the batch size that `like` has at run time, then `rest`."""
        shape, first, whole = (self.fresh(f"{near}/{part}") for part in ("shape", "batch_size", "whole"))
        zero = self.store(f"{near}/zero", np.zeros(1, np.int64))
        tail = self.store(f"{near}/rest", np.asarray(rest, np.int64))
        self.add(onnx.helper.make_node("Shape", [like], [shape]))
        self.add(onnx.helper.make_node("Gather", [shape, zero], [first], axis=0))
        self.add(onnx.helper.make_node("Concat", [first, tail], [whole], axis=0))
        return whole

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


Rule = Callable[[Batch, NodeProto], None]
RULES: dict[tuple[str, str], Rule] = {}


def rule(names: str, domain: str = "") -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(((domain, name) for name in names.split()), function))
        return function

    return register
