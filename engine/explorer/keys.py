"""The names that Model Explorer's ONNX adapter (model-explorer-onnx) gives the nodes of a file.

It names what has no name, and makes names unique, as the pass NameFixPass of onnx_ir does: "node", "node_1", and so on,
with one count for the graph and all graphs inside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from onnx import GraphProto

from ..proto.nodes import subgraphs

# What a graph without a name is called.
MAIN = "<main>"


def node_keys(graph: GraphProto) -> list[str]:
    """The id of each node of a graph, in the order of the file; those of graphs inside nodes are left out."""
    found = list(_named(graph, Counter()))
    return [key for level, key in found if level == 0]


def _named(graph: GraphProto, counts: Counter[str], level: int = 0) -> Iterator[tuple[int, str]]:
    used: set[str] = set()
    for node in graph.node:
        base = name = node.name or "node"
        while name in used:
            counts[base] += 1
            name = f"{base}_{counts[base]}"
        used.add(name)
        yield level, name
        for inner in subgraphs(node):
            yield from _named(inner, counts, level + 1)


def graph_key(graph: GraphProto) -> str:
    """The id of a file's graph."""
    return graph.name or MAIN
