"""Rewriting, before differentiation, of nodes on the differentiated path that have no rule of their own.

In this order: a decomposition registered in `gradients/` (fused com.microsoft operators, control flow); the body that
the ONNX standard itself gives for operators defined as functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import onnx
from onnx import NodeProto

from .. import gradients
from ..emitter.assemble import assemble
from ..emitter.emitter import Emitter
from ..emitter.graph_types import GraphTypes
from ..emitter.node import Node
from ..gradients.registry import Gradient
from ..graph.model import Model
from ..graph.upgrade import GRADIENT_OPSET, upgraded
from ..proto.contradictions import CONTRADICTIONS, contradiction
from ..proto.edit import rename
from ..proto.nodes import subgraphs
from ..proto.values import constant_tensor
from .path import Path

if TYPE_CHECKING:
    from ..graph.model import Model
    from .path import Lookup

_ROUNDS = 50


def decompose_live(op: Emitter, lookup: Lookup, of: Sequence[str], wrt: Sequence[str]) -> None:
    """Rewrite `op.known_types.nodes` until every node between `wrt` and `of` has a rule or nothing more can be done."""
    known_types = op.known_types
    for _ in range(_ROUNDS):
        nodes, changed = rewrite(op, known_types.nodes, lookup, of, wrt)
        if not changed:
            return
        known_types.nodes = nodes
        known_types.stored.update(op.initializers)
        known_types.infer()
        op.forget_types(o for node in nodes for o in node.output)


def rewrite(
    op: Emitter, nodes: Sequence[NodeProto], lookup: Lookup, of: Sequence[str], wrt: Sequence[str]
) -> tuple[list[NodeProto], bool]:
    """One round over `nodes`; also says whether anything was rewritten."""
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


def written_out(model: Model, wanted: Callable[[NodeProto], bool]) -> tuple[Model, list[NodeProto]]:
    """`model` with its `wanted` nodes written out in simpler operators, and those of them that have no such form.

    Values keep their names; the opset becomes at least the oldest that decompositions are written for.
    """
    if not any(wanted(node) for node in model.graph.node):
        return model, []
    model = upgraded(model, GRADIENT_OPSET)
    known_types = GraphTypes(
        model, [NodeProto.FromString(n.SerializeToString()) for n in model.graph.node], model.opset
    )
    op = Emitter(known_types)
    nodes: list[NodeProto] = []
    whole: list[NodeProto] = []
    for node in known_types.nodes:
        replacement = _replace(op, node) if wanted(node) else [node]
        if replacement is None:
            whole.append(node)
        nodes.extend([node] if replacement is None else replacement)
    known_types.nodes = nodes
    known_types.stored.update(op.initializers)
    known_types.infer()
    return assemble(op, {}, {}, [], {}), whole


def _replace(op: Emitter, proto: NodeProto) -> list[NodeProto] | None:
    node = Node(proto)
    prefix = next((o for o in node.outputs if o), node.label)
    function = gradients.find_decomposition(node.domain, node.op_type)
    with op.collecting(prefix) as nodes:
        try:
            outputs = function(node, op) if function is not None else _body(op, node)
        except CONTRADICTIONS as error:
            raise contradiction(proto, error) from error
        if outputs is None:
            return None
        op.rename(nodes, [(new, old) for old, new in zip(node.outputs, outputs, strict=False) if old and new])
    return nodes


def _body(op: Emitter, node: Node) -> list[str | None] | None:
    """Emit the function body that the standard defines for the operator, if it does."""
    if node.domain or not onnx.defs.has(node.op_type, op.opset):
        return None
    schema = onnx.defs.get_schema(node.op_type, op.opset)
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
    given = {k: a.default_value for k, a in schema.attributes.items() if a.default_value.name}
    given.update((a.name, a) for a in (*body.attribute_proto, *node.proto.attribute))
    names = dict(zip(body.input, (*node.inputs, *[""] * len(body.input)), strict=False))
    for inner in body.node:
        _emit_inner(op, inner, names, given)
    return [names.get(name) for name in body.output]


def _emit_inner(op: Emitter, inner: NodeProto, names: dict[str, str], given: Mapping[str, onnx.AttributeProto]) -> None:
    """Emit one node of a function body; `names`, from the body's values to the graph's, grows by its outputs."""
    copy = NodeProto(op_type=inner.op_type, domain=inner.domain)
    copy.input.extend(names.get(name, name) for name in inner.input)
    for attribute in inner.attribute:
        value = onnx.AttributeProto()
        value.CopyFrom(attribute)
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            value.CopyFrom(given[attribute.ref_attr_name])
            value.name = attribute.name
        copy.attribute.append(value)
    if copy.op_type == "CastLike":  # the runtime has no kernel for it and inlines it late
        names[inner.output[0]] = op.cast(copy.input[0], like=copy.input[1])
        return
    tensor = constant_tensor(copy) if copy.op_type == "Constant" else None
    if tensor is not None:
        names[inner.output[0]] = op.const(onnx.numpy_helper.to_array(tensor))
        return
    names.update((name, op.fresh(inner.op_type) if name else "") for name in inner.output)
    copy.output.extend(names[name] for name in inner.output)
    copy.name = next(o for o in copy.output if o)
    for graph in subgraphs(copy):
        for nested in graph.node:
            rename(nested, names)
    op.add(copy)
