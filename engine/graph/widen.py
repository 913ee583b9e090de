"""A model of half precision as one of single precision, with the same weights.

Cotangents do not fit float16: what flows back through an average over 256 x 256 places is 1e-7, the smallest float16
6e-8. On the CPU ONNX Runtime computes most of float16 in float32 anyway, between conversions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto

from ..caches import of_model
from ..proto import external_data as external
from ..proto.edit import replace_nodes
from ..proto.values import elem_of
from .model import Model

_HALF, _SINGLE = int(TensorProto.FLOAT16), int(TensorProto.FLOAT)
# Attributes that hold an element type.
_TYPES = ("to", "dtype", "output_dtype")


@of_model
def widened(model: Model) -> Model:
    """`model` with float32 in place of float16 everywhere, inputs, outputs and weights included; itself without any."""
    graph = model.graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    used = any(_is_half(v.type) for v in infos) or any(t.data_type == _HALF for t in graph.initializer)
    if not used:
        return model
    with model.edited() as edit:
        _widen_graph(edit.graph, model.folder)
    return edit.model


def _is_half(kind: TypeProto) -> bool:
    return elem_of(kind) == _HALF


def _widen_graph(graph: GraphProto, folder: Path | None) -> None:
    for info in (*graph.value_info, *graph.input, *graph.output):
        _widen_type(info.type)
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == _HALF and external.is_external(tensor):
            # It lies in its own file because it is large: widened when the model is opened.
            half = f"{tensor.name}/float16"
            casts.append(onnx.helper.make_node("Cast", [half], [tensor.name], name=tensor.name, to=_SINGLE))
            tensor.name = half
        else:
            _widen_tensor(tensor, folder)
    for sparse in graph.sparse_initializer:
        _widen_tensor(sparse.values, folder)
    for node in graph.node:
        _widen_node(node, folder)
    if casts:
        replace_nodes(graph, [*casts, *graph.node])


def _widen_type(kind: TypeProto) -> None:
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(kind, which)
        tensor.elem_type = _SINGLE if tensor.elem_type == _HALF else tensor.elem_type
    elif which in ("sequence_type", "optional_type"):
        _widen_type(getattr(kind, which).elem_type)


def _widen_tensor(tensor: TensorProto, folder: Path | None) -> None:
    if tensor.data_type == _HALF:
        array = external.read(tensor, folder).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _widen_node(node: NodeProto, folder: Path | None) -> None:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _widen_tensor(attribute.t, folder)
        elif attribute.type == AttributeProto.GRAPH:
            _widen_graph(attribute.g, folder)
        elif attribute.type == AttributeProto.INT and attribute.name in _TYPES and attribute.i == _HALF:
            attribute.i = _SINGLE
