"""Bringing models to a newer opset, operator by operator.

ONNX has a converter of its own (`onnx.version_converter`). It gives up on whole models: on operators of other domains,
on graphs over 2 GB, on control flow; and it renames values. Here every node whose meaning or form changed is rewritten
where it stands, in subgraphs too; other domains are left alone and every value keeps its name. The rewrites are in
`upgrade_rules.py`.
"""

from __future__ import annotations

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from ..proto.edit import replace_nodes
from ..proto.nodes import DOMAIN_NAMES, opset_of, subgraphs
from .model import Model
from .rewriter import Rewriter
from .upgrade_rules import UPGRADES

# The opset that gradients and decompositions are written in.
GRADIENT_OPSET = 18


def upgraded(model: Model, opset: int) -> Model:
    """The model in opset `opset` or newer; itself if it is that already. Raises OpsetError."""
    if model.opset >= opset:
        return model
    return Model(upgrade(model.proto, opset), folder=model.folder, overrides=model.overrides)


def upgrade(proto: ModelProto, target: int) -> ModelProto:
    """A copy of `proto` (opset 7 or newer, shapes inferred) in opset `target`, at most 18; value names stay.

    Raises OpsetError naming the operator, the versions and the reason where there is no equivalent.
    """
    version = opset_of(proto)
    result = ModelProto()
    result.CopyFrom(proto)
    if version >= target:
        return result
    rewriter = Rewriter(result, target)
    _upgrade_graph(result.graph, rewriter)
    result.graph.initializer.extend(rewriter.initializers.values())
    for imported in result.opset_import:
        if imported.domain in DOMAIN_NAMES:
            imported.version = target
    if not any(imported.domain in DOMAIN_NAMES for imported in result.opset_import):
        result.opset_import.add(domain="", version=target)
    return result


def _upgrade_graph(graph: GraphProto, rewriter: Rewriter) -> None:
    nodes: list[NodeProto] = []
    for node in graph.node:
        for inner in subgraphs(node):
            _upgrade_graph(inner, rewriter)
        rewriter.nodes = []
        if node.domain in DOMAIN_NAMES:
            _upgrade_node(node, rewriter)
        else:
            rewriter.add(node)
        nodes.extend(rewriter.nodes)
    replace_nodes(graph, nodes)


def _upgrade_node(node: NodeProto, rewriter: Rewriter) -> None:
    waiting = [node]
    for since, rewrite in UPGRADES.get(node.op_type, ()):
        if rewriter.version < since <= rewriter.target:
            following: list[NodeProto] = []
            for current in waiting:
                rewriter.nodes = []
                if current.op_type == node.op_type:
                    rewrite(current, rewriter)
                else:
                    rewriter.add(current)
                following.extend(rewriter.nodes)
            waiting = following
    rewriter.nodes = waiting
    for made in waiting:
        _check(made, node, rewriter)


def _check(made: NodeProto, node: NodeProto, rewriter: Rewriter) -> None:
    """The node fits the operator's definition at the target; what ONNX does not know is left to the runtime."""
    if not onnx.defs.has(made.op_type, rewriter.target, ""):
        return
    schema = onnx.defs.get_schema(made.op_type, rewriter.target, "")
    if schema.deprecated:
        raise rewriter.fail(node, f"{made.op_type} was withdrawn from the standard and has no replacement")
    unknown = [a.name for a in made.attribute if a.name not in schema.attributes]
    if unknown:
        raise rewriter.fail(node, f"its attribute {unknown[0]!r} no longer exists")
