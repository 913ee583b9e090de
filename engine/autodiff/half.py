"""Gradients of a float16 model: the way forward as the model has it, the way back in float32.

Cotangents do not fit float16 (`graph/widen.py` says why). So the float32 copy of the model is differentiated, and then
its way forward is taken out: what the way back reads of it is cast from what the model itself computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

from ..graph.model import Model
from ..proto.edit import copied, ordered, rename
from ..proto.nodes import reads

_PREFIX = "float32/"


def with_half_forward(gradient: Model, model: Model, of: Sequence[str], wrt: Sequence[str], wide: bool) -> Model:
    """`gradient`, made by differentiating the float32 copy of `model`, with the nodes of `model` on the way forward.

    of, wrt the values that its cotangents and gradients belong to, in that order
    wide    cotangents and gradients in float32; else in float16, where the values that they belong to are
    """
    given, known = gradient.untyped.graph, model.values
    inner = _float32_names(gradient, model)
    nodes: list[NodeProto] = []
    casts = {name: v for name, v in inner.items() if known[name].dtype == np.float16}
    nodes += [_cast(name, v, TensorProto.FLOAT) for name, v in casts.items()]
    for node in given.node:
        wanted = [o for o in node.output if o and (o not in known or (o in inner and o not in casts))]
        if wanted:
            nodes.append(_renamed(node, inner, [o for o in node.output if o and o not in wanted]))
    own = {v.name for v in (*model.untyped.graph.input, *model.untyped.graph.output)}
    graph = GraphProto(name=given.name, doc_string=given.doc_string)
    graph.input.extend(model.untyped.graph.input)
    graph.output.extend(model.graph.output)
    for info, name in zip([i for i in given.input if i.name not in own], of, strict=True):
        graph.input.append(_ended(info, nodes, wide or known[name].dtype != np.float16, comes=True))
    for info, name in zip([o for o in given.output if o.name not in own], wrt, strict=True):
        graph.output.append(_ended(info, nodes, wide or known[name].dtype != np.float16, comes=False))
    forward = [copied(node) for node in model.untyped.graph.node]
    labels = {node.name for node in forward}
    for node in nodes:
        node.name = _free(node.name, labels)
    graph.node.extend(ordered([*forward, *nodes], [v.name for v in graph.output]))
    used = {name for node in graph.node for name in reads(node)} | {v.name for v in (*graph.output, *graph.input)}
    own_tensors = {t.name for t in model.untyped.graph.initializer}
    graph.initializer.extend(t for t in model.untyped.graph.initializer if t.name in used)
    graph.initializer.extend(t for t in given.initializer if t.name in used and t.name not in own_tensors)
    graph.sparse_initializer.extend(t for t in model.untyped.graph.sparse_initializer if t.values.name in used)
    return gradient.with_graph(graph)


def _float32_names(gradient: Model, model: Model) -> dict[str, str]:
    """The values that are not the same in both models (float16, or no plain tensors), under names for the wide one."""
    taken = {name for node in gradient.untyped.graph.node for name in node.output}
    taken.update(t.name for t in gradient.untyped.graph.initializer)
    names = {}
    for name, value in model.values.items():
        if value.dtype is None or value.dtype == np.float16:
            names[name] = _free(_PREFIX + name, taken)
    return names


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = _PREFIX + name
    taken.add(name)
    return name


def _renamed(node: NodeProto, names: Mapping[str, str], others: list[str]) -> NodeProto:
    """The node with its values under the names of the wide model; `others` of its outputs come from elsewhere."""
    copy = copied(node)
    unread = {name: f"{_PREFIX}unread/{name}" for name in others}
    outputs = [unread.get(o, names.get(o, o)) for o in copy.output]
    rename(copy, names)
    copy.output[:] = outputs
    return copy


def _cast(source: str, result: str, elem: int) -> NodeProto:
    return onnx.helper.make_node("Cast", [source], [result], name=result, to=elem)


def _ended(info: ValueInfoProto, nodes: list[NodeProto], wide: bool, comes: bool) -> ValueInfoProto:
    """The declaration of a cotangent that comes in or of a gradient that goes out, with the cast that it takes."""
    declared = copied(info)
    if wide or declared.type.tensor_type.elem_type != TensorProto.FLOAT:
        return declared
    inside = _PREFIX + info.name
    for node in nodes:
        rename(node, {info.name: inside})
    nodes.append(
        _cast(info.name, inside, TensorProto.FLOAT) if comes else _cast(inside, info.name, TensorProto.FLOAT16)
    )
    declared.type.tensor_type.elem_type = TensorProto.FLOAT16
    return declared
