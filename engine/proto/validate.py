"""Whether a parsed file hangs together: a model is untrusted, and protobuf parses many kinds of damage without a word.

What passes here can be read without surprises: names are text, tensors hold the data that their shapes need, attributes
have the types of the operator's schema, names are defined once and before they are read. Whether the numbers make sense
together (a kernel larger than its input) is for ONNX Runtime to judge.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TypeProto,
)

from ..errors import ModelError
from . import external_data as external
from .edit import replace_nodes
from .nodes import label, plain_domain, reads
from .values import dtype_of

# The field that holds a tensor's data where it is not raw (else int32_data), and its entries per element.
_T = TensorProto
_FIELDS: dict[int, tuple[str, int]] = {
    _T.FLOAT: ("float_data", 1),
    _T.COMPLEX64: ("float_data", 2),
    _T.DOUBLE: ("double_data", 1),
    _T.COMPLEX128: ("double_data", 2),
    _T.INT64: ("int64_data", 1),
    _T.UINT64: ("uint64_data", 1),
    _T.UINT32: ("uint64_data", 1),
    _T.STRING: ("string_data", 1),
}
_DATA_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data")


def check_wellformed(proto: ModelProto) -> None:
    """Raise ModelError, naming node or tensor, if `proto` contradicts itself. Undecodable doc strings are dropped."""
    _texts(proto.producer_name, proto.producer_version, proto.domain)
    _readable_doc(proto)
    for prop in proto.metadata_props:
        _texts(prop.key, prop.value)
    for opset in proto.opset_import:
        _texts(opset.domain)
        if opset.version < 1:
            raise ModelError(
                f"the model uses version {opset.version} of the operator set {opset.domain or 'ai.onnx'!r}: the file "
                "is damaged"
            )
    opsets = {plain_domain(o.domain): o.version for o in proto.opset_import}
    _check_graph(proto.graph, opsets)
    for function in proto.functions:
        _check_function(function)


def _texts(*values: Any) -> None:
    """Protobuf hands out bytes where a string is no UTF-8."""
    for value in values:
        for text in [value] if isinstance(value, (str, bytes)) else value:
            if isinstance(text, bytes):
                raise ModelError(f"the model holds a name that is not UTF-8 text ({text[:40]!r}): the file damaged")


def _readable_doc(message: Any) -> None:
    if isinstance(message.doc_string, bytes):
        message.ClearField("doc_string")  # written in another encoding: comments only


def _check_function(function: FunctionProto) -> None:
    _readable_doc(function)
    _texts(function.name, function.domain, function.overload, function.input, function.output, function.attribute)
    _texts(o.domain for o in function.opset_import)
    opsets = {plain_domain(o.domain): o.version for o in function.opset_import}
    for node in function.node:
        _check_node(node, opsets, inside_function=True)


def _check_graph(graph: GraphProto, opsets: Mapping[str, int], inside_function: bool = False) -> None:
    _texts(graph.name)
    _readable_doc(graph)
    for info in (*graph.input, *graph.output, *graph.value_info):
        _texts(info.name)
        _readable_doc(info)
        _check_type(info.type)
    for info in (*graph.input, *graph.output):
        if not info.name:
            raise ModelError("an input or output of the model's graph has no name: the file is damaged")
    for tensor in graph.initializer:
        if not tensor.name:
            raise ModelError("a stored tensor of the model has no name: the file is damaged")
        _check_tensor(tensor)
    for sparse in graph.sparse_initializer:
        _check_sparse(sparse)
    for annotation in graph.quantization_annotation:
        _texts(annotation.tensor_name)
        for entry in annotation.quant_parameter_tensor_names:
            _texts(entry.key, entry.value)
    for node in graph.node:
        _check_node(node, opsets, inside_function)


def _check_type(kind: TypeProto) -> None:
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(kind, which)
        dtype_of(tensor.elem_type)
        for dim in tensor.shape.dim:
            _texts(dim.dim_param, dim.denotation)
    elif which in ("sequence_type", "optional_type"):
        _check_type(getattr(kind, which).elem_type)
    elif which == "map_type":
        _check_type(kind.map_type.value_type)
    _texts(kind.denotation)


def _check_tensor(tensor: TensorProto) -> None:
    _texts(tensor.name)
    what = f"tensor {tensor.name!r}"
    _readable_doc(tensor)
    if dtype_of(tensor.data_type) is None or tensor.HasField("segment"):
        raise ModelError(f"{what} has no element type, or is a segment of one: the file is damaged")
    if any(d < 0 for d in tensor.dims):
        raise ModelError(f"{what} has a negative size in its shape {list(tensor.dims)}: the file is damaged")
    if tensor.data_location not in (TensorProto.DEFAULT, TensorProto.EXTERNAL):
        raise ModelError(f"{what} does not say where its data is: the file is damaged")
    if external.is_external(tensor):
        for entry in tensor.external_data:
            _texts(entry.key, entry.value)
        return
    needed = external.nbytes(tensor)
    if tensor.HasField("raw_data") and tensor.data_type != TensorProto.STRING:
        if len(tensor.raw_data) != needed or any(len(getattr(tensor, f)) for f in _DATA_FIELDS if f != "raw_data"):
            raise ModelError(
                f"{what} holds {len(tensor.raw_data)} bytes, its shape {list(tensor.dims)} needs {needed}: damaged file"
            )
        return
    if tensor.data_type in _FIELDS:
        field, entries = _FIELDS[tensor.data_type]
        expected = external.count(tensor) * entries
    else:
        field = "int32_data"  # types of less than a byte are packed, one byte per number
        expected = needed if tensor.data_type in external.BITS else external.count(tensor)
    if len(getattr(tensor, field)) != expected:
        raise ModelError(
            f"{what} holds {len(getattr(tensor, field))} numbers, its shape {list(tensor.dims)} needs {expected}: "
            "the file is damaged"
        )


def _check_sparse(sparse: SparseTensorProto) -> None:
    _texts(sparse.values.name)
    _check_tensor(sparse.values)
    _check_tensor(sparse.indices)
    if any(d < 0 for d in sparse.dims) or len(sparse.values.dims) != 1:
        raise ModelError(f"the sparse tensor {sparse.values.name!r} has an impossible shape: the file is damaged")
    if not sparse.values.name:
        raise ModelError("a stored sparse tensor of the model has no name: the file is damaged")


_KINDS = frozenset(AttributeProto.AttributeType.values()) - {AttributeProto.UNDEFINED}


def _check_node(node: NodeProto, opsets: Mapping[str, int], inside_function: bool) -> None:
    try:
        "".join((node.name, node.op_type, node.domain, node.overload, *node.input, *node.output))
    except TypeError:
        _texts(node.name, node.op_type, node.domain, node.overload, node.input, node.output)
    _readable_doc(node)
    seen: set[str] = set()
    for attribute in node.attribute:
        _readable_doc(attribute)
        _texts(attribute.name, attribute.ref_attr_name)
        if attribute.name in seen:
            raise ModelError(f"node {label(node)} has two attributes {attribute.name!r}: the file is damaged")
        seen.add(attribute.name)
        if attribute.ref_attr_name:
            if not inside_function:
                raise ModelError(
                    f"attribute {attribute.name!r} of node {label(node)} refers to an attribute of a function "
                    f"({attribute.ref_attr_name!r}), but is in none: the file is damaged"
                )
            continue
        if attribute.type not in _KINDS:
            raise ModelError(f"attribute {attribute.name!r} of node {label(node)} has no type: the file is damaged")
        _check_attribute(attribute, opsets, inside_function)
    _check_schema(node, opsets.get(plain_domain(node.domain)))
    if plain_domain(node.domain) == "":
        _check_words(node)


def _check_words(node: NodeProto) -> None:
    """Texts in attributes of standard operators are words, equations, formats; only tensors hold text of any kind."""
    for attribute in node.attribute:
        for text in (attribute.s, *attribute.strings):
            try:
                text.decode()
            except UnicodeDecodeError:
                raise ModelError(
                    f"attribute {attribute.name!r} of node {label(node)} is not UTF-8 text ({text[:40]!r}): the file "
                    "is damaged"
                ) from None


def _check_attribute(attribute: AttributeProto, opsets: Mapping[str, int], inside_function: bool) -> None:
    for tensor in (*([attribute.t] if attribute.type == AttributeProto.TENSOR else ()), *attribute.tensors):
        _check_tensor(tensor)
    sparse = [attribute.sparse_tensor] if attribute.type == AttributeProto.SPARSE_TENSOR else ()
    for one in (*sparse, *attribute.sparse_tensors):
        _check_tensor(one.values)
        _check_tensor(one.indices)
    for graph in (*([attribute.g] if attribute.type == AttributeProto.GRAPH else ()), *attribute.graphs):
        _check_graph(graph, opsets, inside_function)


@lru_cache(maxsize=4096)
def _schema(op: str, version: int, domain: str) -> Any:
    """What onnx knows of the operator: inputs, outputs and attributes; None for one it does not have."""
    try:
        schema = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    return (
        schema.min_input,
        schema.max_input,
        schema.max_output,
        tuple(i for i, formal in enumerate(schema.inputs) if formal.option == single),
        {name: int(given.type) for name, given in schema.attributes.items()},
        {name for name, given in schema.attributes.items() if given.required},
        schema.since_version,
    )


# Operators had other ways to say what is optional before opset 7; the upgrade reads them.
_OLDEST = 7


def _check_schema(node: NodeProto, version: int | None) -> None:
    if version is None or (version < _OLDEST and plain_domain(node.domain) == ""):
        return
    known = _schema(node.op_type, min(version, 1 << 30), plain_domain(node.domain))
    if known is None:
        return
    least, most, outputs, required, attributes, needed, _ = known
    if not least <= len(node.input) <= most or len(node.output) > outputs or not node.output:
        raise ModelError(
            f"node {label(node)} has {len(node.input)} inputs and {len(node.output)} outputs, which this operator "
            "cannot have: the file is damaged"
        )
    missing = [i for i in required if i < len(node.input) and not node.input[i]] if "" in node.input else []
    if missing:
        raise ModelError(f"node {label(node)} lacks its input {missing[0]}: the file is damaged")
    given = set()
    for attribute in node.attribute:
        given.add(attribute.name)
        wanted = attributes.get(attribute.name)
        if wanted is None and not attribute.name.startswith("__"):  # the checker's mark of internal ones
            raise ModelError(
                f"node {label(node)} has an attribute {attribute.name!r}, which this operator does not have at opset "
                f"{version}: export it again"
            )
        if wanted is not None and not attribute.ref_attr_name and attribute.type != wanted:
            kind = AttributeProto.AttributeType.Name
            raise ModelError(
                f"attribute {attribute.name!r} of node {label(node)} is of type {kind(attribute.type)}, not "
                f"{kind(wanted)}: the file is damaged"
            )
    if needed - given:
        raise ModelError(f"node {label(node)} lacks its attribute {min(needed - given)!r}: the file is damaged")


def check_order(graph: GraphProto) -> None:
    """Names defined once and somewhere; nodes are put into topological order where they are not."""
    ready = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    ready |= {s.values.name for s in graph.sparse_initializer}
    for kind, names in (("inputs", _names(graph.input)), ("stored tensors", _names(graph.initializer))):
        twice = _first_repeated(names)
        if twice is not None:
            raise ModelError(f"two {kind} of the model are called {twice!r}: the file is damaged")
    twice = _first_repeated([*sorted(ready), *(name for node in graph.node for name in node.output if name)])
    if twice is not None:
        raise ModelError(f"the value {twice!r} of the model is defined twice: the file is damaged")
    twice = _first_repeated(_names(graph.output))
    if twice is not None:
        raise ModelError(f"two outputs of the model are called {twice!r}: the file is damaged")
    _sort(graph, ready)
    for node in graph.node:
        ready.update(node.output)
    for output in graph.output:
        if output.name not in ready:
            raise ModelError(
                f"the model's output {output.name!r} is computed nowhere: the file is truncated or damaged"
            )


def _names(messages: Any) -> list[str]:
    return [m.name for m in messages]


def _first_repeated(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _is_sorted(graph: GraphProto, ready: set[str]) -> bool:
    """Whether every node reads only what stands before it."""
    known = set(ready)
    for node in graph.node:
        if not known.issuperset(reads(node)):
            return False
        known.update(node.output)
    return True


def _sort(graph: GraphProto, ready: set[str]) -> None:
    """Put the nodes into topological order, as near to the given one as possible (Kahn 1962)."""
    if _is_sorted(graph, ready):
        return
    producer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    waits: list[int] = []
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(graph.node):
        before = set()
        for name in reads(node):
            if name in producer:
                before.add(producer[name])
            elif name not in ready:
                raise ModelError(
                    f"node {label(node)} reads the value {name!r}, which is defined nowhere: the file is truncated or "
                    "damaged"
                )
        waits.append(len(before))
        for j in before:
            readers.setdefault(j, []).append(i)
    free = [i for i, count in enumerate(waits) if not count]
    order = []
    while free:
        i = heapq.heappop(free)
        order.append(i)
        for j in readers.get(i, ()):
            waits[j] -= 1
            if not waits[j]:
                heapq.heappush(free, j)
    if len(order) < len(graph.node):
        stuck = next(node for i, node in enumerate(graph.node) if waits[i])
        raise ModelError(f"node {label(stuck)} depends on its own output: the file is damaged")
    if order != sorted(order):
        nodes = list(graph.node)
        replace_nodes(graph, [nodes[i] for i in order])
