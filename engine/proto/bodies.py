"""The graphs inside nodes: bodies of If, Loop and Scan, whose values cannot be named from outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, NodeProto

from .nodes import label, subgraphs


@dataclass(frozen=True)
class Body:
    """One graph inside a node of the main graph: `node` the node in messages, `name` of the graph ("then_branch"),
    `values` computed inside, those of graphs further inside included, `nodes` their nodes, `gives` the outputs of the
    node."""

    node: str
    name: str
    values: tuple[str, ...]
    nodes: tuple[str, ...]
    gives: tuple[str, ...]


def bodies(graph: GraphProto) -> list[Body]:
    """Those of all nodes of the main graph, in its order."""
    return [body for node in graph.node for body in _of_node(node)]


def inside(graph: GraphProto, name: str) -> str:
    """Why a value or node of that name cannot be taken and what can; "" where no body has one."""
    for body in bodies(graph):
        if name in body.values or name in body.nodes:
            gives = ", ".join(map(repr, body.gives))
            return (
                f"it is computed inside {body.name} of the node {body.node}, from where nothing can be taken: take "
                f"what the node gives, {gives}, or export the model with the value as an output of {body.name}"
            )
    return ""


def _of_node(node: NodeProto) -> Iterator[Body]:
    gives = tuple(name for name in node.output if name)
    for attribute in node.attribute:
        if attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            continue
        graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
        inner = [n for graph in graphs for n in _all(graph)]
        values = tuple(dict.fromkeys(name for n in inner for name in n.output if name))
        yield Body(label(node), attribute.name, values, tuple(n.name for n in inner if n.name), gives)


def _all(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of those inside it, without recursion."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            waiting.extend(subgraphs(node))
