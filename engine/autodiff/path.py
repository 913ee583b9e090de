"""Which nodes lie between what is differentiated and what it is differentiated by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from onnx import NodeProto

from .. import gradients
from ..emitter.emitter import Emitter
from ..errors import UnknownName
from ..gradients.registry import AnyRule, Constant, Entry, Gradient, Refusal, Rule, of_all_outputs
from ..proto.nodes import reads
from .rectifiers import TABLES

Rules: TypeAlias = "str | Mapping[str | tuple[str, str], AnyRule] | None"
Lookup: TypeAlias = Callable[[NodeProto], "Entry | None"]


def lookup_of(rules: Rules) -> Lookup:
    """The entry of each node: the caller's own rules first, then the registry's.

    Raises UnknownName for a set of rules that there is not, GradientError for a rule with other parameters than
    (node, dy, op) or (node, cotangents, op).
    """
    table: Mapping[Any, AnyRule] = {}
    if isinstance(rules, str):
        if rules not in TABLES:
            raise UnknownName("set of rules", rules, TABLES)
        table = TABLES[rules]
    elif rules is not None:
        table = rules
    given = rules is not None and not isinstance(rules, str) and not hasattr(rules, "key")
    own: dict[tuple[str, str], Rule] = {}
    for where, rule in table.items():
        place = gradients.key("", where) if isinstance(where, str) else gradients.key(*where)
        own[place] = of_all_outputs(rule, f"the rule given for {place[1]!r}")

    def lookup(node: NodeProto) -> Entry | None:
        where = gradients.key(node.domain, node.op_type)
        entry = gradients.find(*where)
        if where not in own:
            return entry
        known = entry if isinstance(entry, Gradient) else Gradient(own[where])
        return replace(known, rule=own[where], given=given)

    return lookup


class Path:
    """The nodes between `wrt` and `of`.

    active   values that depend differentiably on `wrt`
    live     indices of the nodes through which a cotangent may flow from `of` back to `wrt`, ascending
    """

    def __init__(self, op: Emitter, nodes: Sequence[NodeProto], of: Sequence[str], wrt: Sequence[str], lookup: Lookup):
        self.active = set(wrt)
        touched: dict[int, list[str]] = {}
        for index, node in enumerate(nodes):
            entry = lookup(node)
            names = [name for name in self.dependent(node, entry) if name in self.active]
            if isinstance(entry, Constant) or not names:
                continue
            touched[index] = names
            carried = isinstance(entry, Refusal) or (isinstance(entry, Gradient) and entry.carries)
            carried = carried or any(not op.is_float(name) for name in names)
            self.active.update(o for o in node.output if o and (carried or op.is_float(o)))
        needed, live = set(of), []
        for index in reversed(touched):
            if any(o in needed and o in self.active for o in nodes[index].output):
                live.append(index)
                needed.update(touched[index])
        self.live = live[::-1]

    @staticmethod
    def dependent(node: NodeProto, entry: Entry | None) -> list[str]:
        """The values that the node reads and that may have a cotangent from it."""
        if isinstance(entry, Gradient) and entry.inputs is not None:
            captured = [name for name in reads(node) if name not in node.input]
            return [node.input[i] for i in sorted(entry.inputs) if i < len(node.input) and node.input[i]] + captured
        return list(reads(node))
