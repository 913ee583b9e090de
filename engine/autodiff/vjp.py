"""Reverse-mode differentiation of ONNX graphs: `vjp`.

    model -> opset >= 18 -> decompose what has no rule of its own -> pull cotangents back -> prune -> Model

The rules are in `gradients/`; here is what they have in common: which nodes lie between `wrt` and `of`, summing the
cotangents of values that are read more than once, undoing broadcasts, names, and what to say when there is no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import onnx
from onnx import NodeProto

from .. import gradients
from ..emitter.assemble import assemble, gradient_names
from ..emitter.emitter import Emitter, Node
from ..emitter.graph_types import FLOATS, Knowledge, elem_of
from ..errors import Disconnected, GradientError, NoGradient, UnknownName
from ..gradients import Constant, Entry, Gradient, Refusal, Rule
from ..graph.model import Model, Source, load
from ..graph.upgrade import upgrade
from ..proto.nodes import reads
from .decompose import decompose_live

Rules: TypeAlias = "str | Mapping[str | tuple[str, str], Rule] | None"
Lookup: TypeAlias = Callable[[NodeProto], "Entry | None"]
OLDEST_OPSET = 18


def vjp(model: Source, of: str | Sequence[str], wrt: str | Sequence[str], rules: Rules = None) -> Model:
    """A model that computes what `model` does and, besides, vector-Jacobian products, in standard ONNX operators.

    of      values to differentiate: names of outputs or of any float value inside
    wrt     values to differentiate by: inputs, initializers or any float value inside; at a value inside, the gradient
            is the total one, as if the value were an input of what comes after it
    rules   None: the derivative. "guided" (Springenberg et al. 2015, arXiv:1412.6806) or "deconvnet" (Zeiler & Fergus
            2014): other rules for rectifiers, see `rectifiers.py`. A mapping from operator or (domain, operator) to a
            rule: your own, written like those in `gradients/`.

    Inputs: those of the model, then `cotangent/<name>` for each `of`, of that value's type and shape. Outputs: those of
    the model, then `grad/<name>` for each `wrt`: the sum over `of` of cotangent times derivative. The batch and every
    other dimension stay symbolic where they were. Where the model has a value of such a name already (it is a vjp
    itself), another "grad/" or "cotangent/" goes before it.

    Raises UnknownName, NoGradient (an operator between `wrt` and `of` has none), Disconnected (no `of` depends on a
    `wrt`), GradientError (a value is no float tensor), ShapeError (a rank that cannot be known), ModelError,
    OpsetError.
    """
    model = load(model)
    of, wrt = _names(model, of, "of"), _names(model, wrt, "wrt")
    lookup = _lookup(rules)
    if model.opset < OLDEST_OPSET:
        model = Model(upgrade(model.proto, OLDEST_OPSET), folder=model.folder, overrides=model.overrides)
    knowledge = Knowledge(model, [_copy(node) for node in model.graph.node], model.opset)
    _check_floats(knowledge, of, wrt)
    op = Emitter(knowledge)
    op.lookup = lookup
    decompose_live(op, lookup, of, wrt)
    seeds, totals = gradient_names(op, of, wrt)
    found = pullback(op, knowledge.nodes, dict(zip(of, seeds, strict=True)), wrt, lookup)
    for name in wrt:
        if name not in found:
            raise Disconnected(_explain(op, knowledge.nodes, of, name, lookup))
    note = {"onnxray.vjp": f"of={','.join(of)}; wrt={','.join(wrt)}; rules={_rules_name(rules)}"}
    return assemble(op, dict(zip(of, seeds, strict=True)), {n: found[n] for n in wrt}, totals, note)


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _names(model: Model, names: str | Sequence[str], what: str) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    if not listed:
        raise GradientError(f"`{what}` names no value: give at least one")
    for name in listed:
        if name not in model.values:
            raise UnknownName("value", name, model.values, f"`{what}` takes any value of the model")
    if len(set(listed)) < len(listed):
        raise GradientError(f"`{what}` names a value twice: {', '.join(repr(n) for n in listed)}")
    return listed


def _lookup(rules: Rules) -> Lookup:
    table: Mapping[Any, Rule] = {}
    if isinstance(rules, str):
        from .rectifiers import TABLES

        if rules not in TABLES:
            raise UnknownName("set of rules", rules, TABLES)
        table = TABLES[rules]
    elif rules is not None:
        table = rules
    own: dict[tuple[str, str], Rule] = {}
    for where, rule in table.items():
        own[gradients.key("", where) if isinstance(where, str) else gradients.key(*where)] = rule

    def lookup(node: NodeProto) -> Entry | None:
        where = gradients.key(node.domain, node.op_type)
        entry = gradients.find(*where)
        if where not in own:
            return entry
        return replace(entry, rule=own[where]) if isinstance(entry, Gradient) else Gradient(own[where])

    return lookup


def _rules_name(rules: Rules) -> str:
    if rules is None or isinstance(rules, str):
        return rules or "none"
    name = getattr(rules, "name", None)
    if isinstance(name, str):
        return name
    return "own rules for " + ",".join(sorted(w if isinstance(w, str) else "::".join(w) for w in rules))


def _check_floats(knowledge: Knowledge, of: list[str], wrt: list[str]) -> None:
    for name in [*of, *wrt]:
        elem = elem_of(knowledge.types.get(name))
        if not elem:
            knowledge.probe()
            elem = elem_of(knowledge.types.get(name))
        if elem not in FLOATS:
            kind = onnx.TensorProto.DataType.Name(elem).lower() if elem else "no tensor of a known type"
            raise GradientError(
                f"value {name!r} is {kind}: only float tensors can be differentiated or differentiated by"
            )


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


def pullback(
    op: Emitter, nodes: Sequence[NodeProto], cotangents: Mapping[str, str], wrt: Sequence[str], lookup: Lookup
) -> dict[str, str]:
    """Emit the cotangents of `wrt`, given those of values that `nodes` compute; those that get none are left out.

    `nodes` are in topological order and need no decomposition. Works in subgraphs too, with the emitter of their scope.
    """
    path = Path(op, nodes, list(cotangents), wrt, lookup)
    asked = frozenset(wrt)
    partial: dict[str, list[str]] = {name: [c] for name, c in cotangents.items()}
    totals: dict[str, str] = {}

    def total(name: str) -> str | None:
        """The sum of all that flowed back into the value; called when nothing more can come."""
        if name not in totals:
            parts = partial.pop(name, [])
            if not parts:
                return None
            op.prefix = f"grad/{name}"
            sum_, *others = op.before_expansion(parts)
            for part in others:
                sum_ = op.Add(sum_, part)
            op.take_shape(sum_, name)
            totals[name] = sum_
        return totals[name]

    before = op.prefix
    for index in reversed(path.live):
        proto = nodes[index]
        entry = lookup(proto)
        incoming = [total(o) if o in path.active else None for o in proto.output]
        if not any(incoming):
            continue
        node = Node(proto, [name in path.active for name in proto.input], path.active, asked)
        if not isinstance(entry, Gradient):
            raise NoGradient(_no_gradient(op, node, entry))
        op.prefix = f"grad/{node.label if not proto.output[0] else proto.output[0]}"
        for name, cotangent in _apply(op, node, entry, incoming):
            if name in path.active:
                partial.setdefault(name, []).append(cotangent)
    found = {name: sum_ for name in wrt if (sum_ := total(name)) is not None}
    op.prefix = before
    return found


def _apply(op: Emitter, node: Node, entry: Gradient, incoming: list[str | None]) -> list[tuple[str, str]]:
    """(value, cotangent) pairs of one node, in the values' own shapes."""
    result = entry.rule(node, incoming, op)
    if isinstance(result, Mapping):
        return list(result.items())
    if any(result[len(node.inputs) :]):
        raise ValueError(f"the rule of {node.op_type} gives {len(result)} cotangents for {len(node.inputs)} inputs")
    pairs = []
    for index, (name, cotangent) in enumerate(zip(node.inputs, result, strict=False)):
        if cotangent is None or not name or not node.wants[index]:
            continue
        if entry.broadcasts:
            others = [other for i, other in enumerate(node.inputs) if other and i != index]
            cotangent = op.reduce_to(cotangent, name, others)
        _check_shape(op, node, name, cotangent)
        pairs.append((name, cotangent))
    return pairs


def _check_shape(op: Emitter, node: Node, name: str, cotangent: str) -> None:
    """A cotangent has its value's shape: record it, and stop a rule that gets it wrong."""
    due, have = op.static_shape(name), op.static_shape(cotangent)
    if due is not None and have is not None and due != have:
        raise ValueError(f"the rule of {node.op_type} gives {name!r} of shape {due} a cotangent of shape {have}")
    op.take_shape(cotangent, name)


def _no_gradient(op: Emitter, node: Node, entry: Entry | None) -> str:
    operator = node.op_type if not node.domain else f"{node.domain}::{node.op_type}"
    reason = f": {entry.reason}" if isinstance(entry, Refusal) else ""
    remedy = "" if reason else (
        ": choose `of` before it or `wrt` after it, give a rule of your own with rules={...}, "
        "or use a gradient-free method (occlusion, rise, score-cam)"
    )  # fmt: skip
    return f"no gradient for {operator!r} (node {node.label!r}, opset {op.opset}){reason}{remedy}"


def _explain(op: Emitter, nodes: Sequence[NodeProto], of: Sequence[str], name: str, lookup: Lookup) -> str:
    """Why no cotangent reaches `name`: where every way from it to `of` ends."""
    target = ", ".join(repr(o) for o in of)
    reached = {name}
    ways: list[NodeProto] = []
    for node in nodes:
        if any(r in reached for r in reads(node)):
            reached.update(o for o in node.output if o)
            ways.append(node)
    needed = set(of)
    path: list[NodeProto] = []
    for node in reversed(ways):
        if any(o in needed for o in node.output):
            needed.update(reads(node))
            path.insert(0, node)
    if not path:
        others = [v.name for v in op.knowledge.inputs if v.name not in op.knowledge.stored and v.name != name]
        hint = f"; the model's other inputs are {', '.join(repr(o) for o in others[:5])}" if others else ""
        return f"{target} does not depend on {name!r}: nothing computed from {name!r} is used for it{hint}"
    active = Path(op, nodes, of, [name], lookup).active
    for node in path:
        sources = [r for r in reads(node) if r in active]
        if sources and not any(o in active for o in node.output):
            entry = lookup(node)
            label = Node(node).label
            if isinstance(entry, Constant):
                why = entry.reason
            elif not set(sources).intersection(Path.dependent(node, entry)):
                why = "this argument has no derivative"
            else:
                why = "its output is " + ", ".join(_kind(op, o) for o in node.output if o)
            return (
                f"{target} depends on {name!r} only through operators without a derivative: the path ends at "
                f"{node.op_type!r} (node {label!r}, input {sources[0]!r}): {why}; "
                f"differentiate by a value after it, or choose an `of` that depends on {name!r} otherwise"
            )
    return f"{target} depends on {name!r}, but the operators in between pass no gradient on to it"


def _kind(op: Emitter, name: str) -> str:
    elem = elem_of(op.type(name))
    return onnx.TensorProto.DataType.Name(elem).lower() if elem else "of unknown type"
