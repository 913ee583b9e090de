"""Rewriting, before differentiation, of nodes on the differentiated path that have no rule of their own.

In this order: a decomposition registered in `gradients/` (fused com.microsoft operators, control flow); the body that
the ONNX standard itself gives for operators defined as functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx
from onnx import NodeProto

from . import gradients
from .emitter import Emitter, Node, rename
from .gradients import Gradient
from .nodes import subgraphs

if TYPE_CHECKING:
    from .differentiate import Lookup

_ROUNDS = 50


def decompose_live(op: Emitter, lookup: Lookup, of: Sequence[str], wrt: Sequence[str]) -> None:
    """Rewrite `op.knowledge.nodes` until every node between `wrt` and `of` has a rule or nothing more can be done."""
    knowledge = op.knowledge
    for _ in range(_ROUNDS):
        nodes, changed = rewrite(op, knowledge.nodes, lookup, of, wrt)
        if not changed:
            return
        knowledge.nodes = nodes
        knowledge.stored.update(op.initializers)
        knowledge.infer()
        op.forget_types(o for node in nodes for o in node.output)


def rewrite(
    op: Emitter, nodes: Sequence[NodeProto], lookup: Lookup, of: Sequence[str], wrt: Sequence[str]
) -> tuple[list[NodeProto], bool]:
    """One round over `nodes`; also says whether anything was rewritten."""
    from .differentiate import Path

    live = set(Path(op, nodes, of, wrt, lookup).live)
    after: list[NodeProto] = []
    changed = False
    for index, node in enumerate(nodes):
        replacement = None
        if index in live and not isinstance(lookup(node), Gradient):
            replacement = _replace(op, node)
        if replacement is None:
            after.append(node)
        else:
            after.extend(replacement)
            changed = True
    return after, changed


def _replace(op: Emitter, proto: NodeProto) -> list[NodeProto] | None:
    node = Node(proto)
    prefix = next((o for o in node.outputs if o), node.label)
    function = gradients.find_decomposition(node.domain, node.op_type)
    with op.collecting(prefix) as nodes:
        outputs = function(node, op) if function is not None else _body(op, node)
        if outputs is None:
            return None
        op.rename(nodes, [(new, old) for old, new in zip(node.outputs, outputs, strict=False) if old and new])
    return nodes


def _body(op: Emitter, node: Node) -> list[str | None] | None:
    """Emit the function body that the standard defines for the operator, if it does."""
    if node.domain not in ("",) or not onnx.defs.has(node.op_type, op.opset, node.domain):
        return None
    schema = onnx.defs.get_schema(node.op_type, op.opset, node.domain)
    # A body is written for some opset; the newest that is not newer than the model's is the one to take.
    fixed = [v for v in schema.function_opset_versions if v <= op.opset]
    adapted = [v for v in schema.context_dependent_function_opset_versions if v <= op.opset]
    if fixed:
        text = schema.get_function_with_opset_version(max(fixed))
    elif adapted:
        types = [(op.type(name) or onnx.TypeProto()).SerializeToString() for name in node.inputs]
        text = schema.get_context_dependent_function_with_opset_version(
            max(adapted), node.proto.SerializeToString(), types
        )
    else:
        return None
    body = onnx.FunctionProto.FromString(text)
    names = dict(zip(body.input, (*node.inputs, *[""] * len(body.input)), strict=False))
    attributes = {a.name: a for a in node.proto.attribute}
    defaults = {a.name: a for a in body.attribute_proto}
    defaults.update({k: a.default_value for k, a in schema.attributes.items() if a.default_value.name})
    for inner in body.node:
        copy = NodeProto()
        copy.CopyFrom(inner)
        del copy.input[:], copy.output[:], copy.attribute[:]
        copy.input.extend(names.get(name, name) for name in inner.input)
        for name in inner.output:
            names[name] = op.fresh(inner.op_type) if name else ""
            copy.output.append(names[name])
        copy.name = next(o for o in copy.output if o)
        for attribute in inner.attribute:
            value = attribute
            if attribute.ref_attr_name:
                given = attributes.get(attribute.ref_attr_name) or defaults.get(attribute.ref_attr_name)
                if given is None:
                    continue
                value = onnx.AttributeProto()
                value.CopyFrom(given)
                value.name = attribute.name
            copy.attribute.append(value)
        for graph in subgraphs(copy):
            for nested in graph.node:
                rename(nested, names)
        op.add(copy)
    return [names.get(name) for name in body.output]
