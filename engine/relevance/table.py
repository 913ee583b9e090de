"""Relevance rules as a table for `vjp`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import gradients
from ..gradients.registry import Cotangents, Gradient
from ..proto.nodes import reads
from . import zone
from .registry import LrpPass, Relevances, find, no_rule

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node
    from ..gradients.registry import Rule


class Table(Mapping["str | tuple[str, str]", "Rule"]):
    """Rules for `vjp`, one for each differentiable operator; `name` is what the metadata of its model say."""

    def __init__(self, lrp: LrpPass, name: str = "lrp") -> None:
        self.lrp, self.name = lrp, name
        self._rules: dict[str | tuple[str, str], Rule] = {
            k: _adapted(k, e, lrp) for k, e in gradients.entries() if isinstance(e, Gradient)
        }

    @property
    def key(self) -> Hashable:
        """What tells this table from others: the composite and where in the graph it counts."""
        lrp = self.lrp
        return self.name, lrp.composite.key, lrp.input, lrp.zone, lrp.last

    def __getitem__(self, key: str | tuple[str, str]) -> Rule:
        return self._rules[key]

    def __iter__(self) -> Iterator[str | tuple[str, str]]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


def _adapted(key: tuple[str, str], entry: Gradient, lrp: LrpPass) -> Rule:
    """The operator's relevance rule as one of `gradients/`: in the zone it carries relevance, before it multipliers."""
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
