"""Pulling cotangents back through nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from ..emitter.emitter import Emitter
from ..emitter.node import Node
from ..errors import GradientError, NoGradient
from ..gradients.registry import Entry, Gradient, Refusal
from ..proto.contradictions import CONTRADICTIONS, contradiction
from .path import Lookup, Path


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
    try:
        result = entry.rule(node, incoming, op)
    except CONTRADICTIONS as error:
        if entry.given:
            raise  # the caller's own mistake
        raise contradiction(node.proto, error) from error
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
        raise GradientError(
            f"node {node.label!r} ({node.op_type}) gets for {name!r} of shape {list(due)} a cotangent of shape "
            f"{list(have)}: shapes of the model contradict each other, or a rule given for {node.op_type} is wrong"
        )
    op.take_shape(cotangent, name)


def _no_gradient(op: Emitter, node: Node, entry: Entry | None) -> str:
    operator = node.op_type if not node.domain else f"{node.domain}::{node.op_type}"
    reason = f": {entry.reason}" if isinstance(entry, Refusal) else ""
    remedy = "" if reason else (
        ": choose `of` before it or `wrt` after it, give a rule of your own with rules={...}, "
        "or use a gradient-free method (occlusion, ablation)"
    )  # fmt: skip
    return f"no gradient for {operator!r} (node {node.label!r}, opset {op.opset}){reason}{remedy}"
