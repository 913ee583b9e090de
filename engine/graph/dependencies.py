"""What depends on what in a model's main graph; nodes are given in graph order.

A node reads a value also where only a subgraph of it does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from onnx import NodeProto

from ..proto.nodes import reads
from .model import Model


def before(model: Model, names: Iterable[str], stop: Collection[str] = ()) -> list[NodeProto]:
    """The nodes that the values `names` are computed by, not going past the values in `stop`."""
    wanted = {name for name in names if name not in stop}
    nodes = []
    for node in reversed(model.untyped.graph.node):
        if any(name in wanted for name in node.output):
            nodes.append(node)
            wanted.update(name for name in reads(node) if name not in stop)
    return nodes[::-1]


def behind(model: Model, names: Iterable[str]) -> list[NodeProto]:
    """The nodes that compute something from any of the values `names`."""
    reached = set(names)
    nodes = []
    for node in model.untyped.graph.node:
        if any(name in reached for name in reads(node)):
            nodes.append(node)
            reached.update(name for name in node.output if name)
    return nodes


def between(model: Model, start: str, end: str) -> list[NodeProto]:
    """The nodes on the ways from the value `start` to the value `end`; none where `end` does not depend on it."""
    wanted, nodes = {end}, []
    for node in reversed(behind(model, [start])):
        if start not in node.output and any(name in wanted for name in node.output):
            nodes.append(node)
            wanted.update(reads(node))
    return nodes[::-1]


def outputs_of(nodes: Iterable[NodeProto]) -> set[str]:
    """The values that nodes compute."""
    return {name for node in nodes for name in node.output if name}
