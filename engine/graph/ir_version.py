"""Files of a newer format than the installed ONNX Runtime reads: lowered, where that is safe."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from ..errors import OpsetError
from ..proto.nodes import label, subgraphs
from ..runtime.ir_version import newest_ir_version, runtime_version

# The last element type of each version (onnx.proto: the comments on `enum Version`). Besides types, version 11 brings
# hints for several devices, which a run may ignore, and 14 opaque types in all builds, which are refused here.
_LAST_TYPE = {10: 22, 11: 23, 12: 24, 13: 26, 14: 28}


def lower_ir_version(proto: ModelProto) -> None:
    """Set the IR version to the newest that ONNX Runtime reads, in place, and warn that this was done.

    A version only says which fields and element types a file may use; what operators do stands in the opsets, which
    stay. Raises OpsetError where the model uses an element type that the older version does not have, or where its
    version is one whose types are not known here.
    """
    asked = proto.ir_version
    if asked <= min(_LAST_TYPE) or asked <= newest_ir_version():
        return
    newest = newest_ir_version()
    said = f"the model has IR version {asked}, the installed ONNX Runtime {runtime_version()} reads up to {newest}"
    if asked not in _LAST_TYPE or newest not in _LAST_TYPE:
        raise OpsetError(f"{said}: upgrade onnxruntime, or write the file with ir_version={newest}")
    for kind, place in _element_types(proto.graph):
        if kind is None or kind > _LAST_TYPE[newest]:
            known = kind in TensorProto.DataType.values()
            name = "an opaque type" if kind is None else TensorProto.DataType.Name(kind) if known else f"type {kind}"
            raise OpsetError(
                f"{said}, and {place} uses {name}, which version {newest} does not have: upgrade onnxruntime, or "
                "export the model with another type"
            )
    proto.ir_version = newest
    warnings.warn(
        f"{said}: it is run as version {newest}, which has all types that the model uses; the file is not changed",
        stacklevel=2,
    )


def _element_types(graph: GraphProto) -> Iterator[tuple[int | None, str]]:
    """The element types in a graph and the graphs inside it, None for opaque ones, each with its place for messages."""
    for info in (*graph.input, *graph.output, *graph.value_info):
        for kind in _of_type(info.type):
            yield kind, f"the value {info.name!r}"
    for tensor in graph.initializer:
        yield tensor.data_type, f"the initializer {tensor.name!r}"
    for sparse in graph.sparse_initializer:
        yield sparse.values.data_type, f"the initializer {sparse.values.name!r}"
    for node in graph.node:
        for kind in _of_attributes(node):
            yield kind, f"the node {label(node)}"
        for inner in subgraphs(node):
            yield from _element_types(inner)


def _of_attributes(node: NodeProto) -> Iterator[int | None]:
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.type == AttributeProto.INT:
            yield attribute.i
        for tensor in (attribute.t, *attribute.tensors, attribute.sparse_tensor.values):
            yield tensor.data_type
        for kind in (attribute.tp, *attribute.type_protos):
            yield from _of_type(kind)


def _of_type(kind: TypeProto) -> Iterator[int | None]:
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        yield kind.tensor_type.elem_type
    elif which == "sparse_tensor_type":
        yield kind.sparse_tensor_type.elem_type
    elif which == "sequence_type":
        yield from _of_type(kind.sequence_type.elem_type)
    elif which == "optional_type":
        yield from _of_type(kind.optional_type.elem_type)
    elif which == "map_type":
        yield from _of_type(kind.map_type.value_type)
    elif which is not None:
        yield None
