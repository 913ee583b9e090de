"""Reading nodes and graphs of the ONNX protobuf: what a node reads, its subgraphs, how it is called in messages."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

# The oldest opset that ONNX Runtime runs.
RUNTIME_OPSET = 7

# Two spellings of the standard operator set.
DOMAIN_NAMES = ("", "ai.onnx")


def plain_domain(domain: str) -> str:
    """`domain`, with the standard one always as ""."""
    return "" if domain in DOMAIN_NAMES else domain


def opset_of(proto: ModelProto) -> int:
    """Version of the standard operator set; 1 where none is stated, as the specification has it."""
    return max((o.version for o in proto.opset_import if o.domain in DOMAIN_NAMES), default=1)


def label(node: NodeProto) -> str:
    """A node in messages: its name, or its output's, and its operator."""
    domain = plain_domain(node.domain)
    op = f"{domain}.{node.op_type}" if domain else node.op_type
    return f"{node.name or next((o for o in node.output if o), '?')!r} ({op})"


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that `node` holds as attributes (bodies of If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def reads(node: NodeProto) -> Iterator[str]:
    """Names of the outer values that `node` reads, those captured by its subgraphs included."""
    yield from filter(None, node.input)
    if not node.attribute:
        return
    for graph in subgraphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
        own.update(s.values.name for s in graph.sparse_initializer)
        for inner in graph.node:
            yield from (name for name in reads(inner) if name not in own)
            own.update(inner.output)
        yield from (v.name for v in graph.output if v.name not in own)


# Of the IR versions, this one is new enough for everything that is written here and old enough for every ONNX Runtime.
MIN_IR = 7


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Nodes of `graph` and of the graphs inside it."""
    for node in graph.node:
        yield node
        if node.attribute:
            for inner in subgraphs(node):
                yield from all_nodes(inner)
