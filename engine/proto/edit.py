"""Editing graphs of the ONNX protobuf in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from onnx import GraphProto, NodeProto

from .nodes import reads, subgraphs

M = TypeVar("M", bound=Message)


def ordered(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that `outputs` depend on, each after those it reads from; otherwise in the order given."""
    maker = {o: index for index, node in enumerate(nodes) for o in node.output if o}
    needs = [[maker[name] for name in dict.fromkeys(reads(node)) if name in maker] for node in nodes]
    wanted: set[int] = set()
    stack = [maker[name] for name in outputs if name in maker]
    while stack:
        index = stack.pop()
        if index not in wanted:
            wanted.add(index)
            stack.extend(needs[index])
    done: set[int] = set()
    result: list[NodeProto] = []
    for start in sorted(wanted):
        stack = [start]
        while stack:
            index = stack[-1]
            if index in done:
                stack.pop()
                continue
            waiting = [n for n in needs[index] if n not in done]
            if waiting:
                stack.extend(reversed(waiting))
            else:
                done.add(index)
                result.append(nodes[index])
                stack.pop()
    return result


def rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Give values other names wherever the node, or a subgraph of it, reads or writes them."""
    if not names:
        return
    for field in (node.input, node.output):
        if any(name in names for name in field):
            field[:] = [names.get(name, name) for name in field]
    for graph in subgraphs(node):
        for inner in graph.node:
            rename(inner, names)
        for output in graph.output:
            output.name = names.get(output.name, output.name)


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Give `graph` these nodes, some of which may be its own."""
    replace(graph.node, nodes)


def replace(field: Any, items: Iterable[Message]) -> None:
    """Give a repeated field these messages, some of which may be its own."""
    copies = [copied(item) for item in items]
    del field[:]
    field.extend(copies)


def drop(field: Any, unwanted: Callable[[Any], bool]) -> None:
    """Take messages out of a repeated field; those that stay are not copied."""
    for index in reversed([index for index, item in enumerate(field) if unwanted(item)]):
        del field[index]


def copied(message: M) -> M:
    """A copy of a protobuf message."""
    copy: M = type(message)()
    copy.CopyFrom(message)
    return copy


def copy_fields(source: Message, target: Message, but: Collection[str] = ()) -> None:
    """Copy all fields, less those named in `but`, from one protobuf message to an empty one of the same type."""
    for field, value in source.ListFields():
        if field.name in but:
            continue
        if isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)
