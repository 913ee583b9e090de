"""Putting a differentiated graph together: readable names, dead branches dropped, topological order, metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import GraphProto, NodeProto, ValueInfoProto

from ..graph.model import Model
from ..proto.edit import drop, ordered, rename
from ..proto.nodes import reads
from ..proto.values import shape_of
from .emitter import Emitter


def gradient_names(op: Emitter, of: Sequence[str], wrt: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of the new inputs and outputs, `cotangent/<name>` and `grad/<name>`; both are reserved."""
    seeds = [op.reserve("cotangent/", name) for name in of]
    totals = [op.reserve("grad/", name) for name in wrt]
    for name, seed in zip(of, seeds, strict=True):
        kind = op.type(name)
        if kind is not None:
            op.set_type(seed, kind)
        op.take_shape(seed, name)
    return seeds, totals


def assemble(
    op: Emitter,
    seeds: Mapping[str, str],
    found: Mapping[str, str],
    totals: Sequence[str],
    metadata: Mapping[str, str],
    *,
    consume: bool = False,
) -> Model:
    """The final model: the original inputs and outputs, then the cotangents of `seeds` and the gradients `found`.

    consume: the emitter's model was just made, nobody else knows it, and it may be changed: its weights stay in place.
    """
    known_types = op.known_types
    model = known_types.model
    nodes = [*known_types.nodes, *op.nodes]
    emitted = {o for node in op.nodes for o in node.output}
    names: dict[str, str] = {}
    for cotangent, name in zip(found.values(), totals, strict=True):
        if cotangent in emitted and cotangent not in names:
            names[cotangent] = name
        else:
            nodes.append(
                NodeProto(op_type="Identity", input=[names.get(cotangent, cotangent)], output=[name], name=name)
            )
    for node in nodes:
        rename(node, names)
    graph = GraphProto(name=model.graph.name or "model")
    graph.input.extend(model.graph.input)
    graph.input.extend(_info(op, seed, name) for name, seed in seeds.items())
    graph.output.extend(_output(op, info) for info in model.graph.output)
    graph.output.extend(_info(op, total, name) for name, total in zip(found, totals, strict=True))
    return finish(op, graph, nodes, metadata, consume=consume)


def finish(
    op: Emitter,
    graph: GraphProto,
    nodes: Sequence[NodeProto],
    metadata: Mapping[str, str],
    *,
    consume: bool = False,
) -> Model:
    """The emitter's model with `graph`, whose inputs and outputs are declared. consume: see `assemble`.

    The graph gets those of `nodes` that the outputs depend on, in order, and the constants that they read.
    """
    model = op.known_types.model
    graph.doc_string = model.graph.doc_string
    graph.node.extend(ordered(nodes, [v.name for v in graph.output]))
    # The runtime loses the names of sizes at operators such as Expand, and with them that two maps have one shape.
    made = {output for node in graph.node for output in node.output} - {v.name for v in graph.output}
    graph.value_info.extend(_info(op, name, name) for name in op.of_named_sizes() if name in made)
    used = {name for node in graph.node for name in reads(node)} | {v.name for v in (*graph.output, *graph.input)}
    stored = {**op.known_types.stored, **op.initializers}
    own = frozenset(model.initializers) if consume else frozenset[str]()
    with (model.consumed if consume else model.edited)(graph, metadata=metadata, opset=op.opset) as edit:
        edit.graph.initializer.extend(t for name, t in stored.items() if name in used and name not in own)
        if consume:
            drop(edit.graph.initializer, lambda tensor: tensor.name not in used)
            drop(edit.graph.sparse_initializer, lambda tensor: tensor.values.name not in used)
        else:
            kept = (t for t in model.graph.sparse_initializer if t.values.name in used)
            edit.graph.sparse_initializer.extend(kept)
    result = edit.model
    oldest = onnx.helper.find_min_ir_version_for(result.untyped.opset_import, ignore_unknown=True)
    result.untyped.ir_version = max(result.untyped.ir_version, oldest)
    return result


def _info(op: Emitter, name: str, like: str) -> ValueInfoProto:
    """A declaration of `name` with the type of `like`; a checker wants to see its rank."""
    info = ValueInfoProto(name=name)
    kind = op.type(like)
    if shape_of(kind) is None and (kind is None or kind.HasField("tensor_type")):
        op.learn()
        kind = op.type(like)
    if kind is not None:
        info.type.CopyFrom(op.known_types.public(kind))
    return info


def _output(op: Emitter, info: ValueInfoProto) -> ValueInfoProto:
    """An output of the model, with the shape that was inferred rather than the one that its file claims."""
    return _info(op, info.name, info.name) if op.known_types.types.get(info.name) is not None else info
