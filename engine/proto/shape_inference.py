"""Types and shapes of all values, by onnx's inference."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto

from . import external_data as external
from .edit import copy_fields
from .guarded_inference import INFERENCE_ERRORS, infer_graph
from .nodes import DOMAIN_NAMES
from .values import shape_of

# Arguments that hold sizes or axes have to be seen by the inference, weights have not.
_SHAPE_ARGUMENT_BYTES = 4096


def infer_shapes(proto: ModelProto) -> ModelProto:
    """`proto`, changed in place: types and shapes of all values that onnx can infer; weights are not copied for it.

    Declared shapes can be stale (a batch size changed by hand, an old export). Of intermediate values they count only
    where onnx cannot infer any, as behind operators of other domains; of outputs, where the inference leaves a size
    open. Computed sizes are followed as well, symbolic ones included.
    """
    bare = bare_copy(proto)
    foreign = {name for node in proto.graph.node if node.domain not in DOMAIN_NAMES for name in node.output}
    declared = {v.name: v for v in proto.graph.value_info if v.type.WhichOneof("value")}
    for info in bare.graph.output:
        if info.name not in foreign and info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    known = [v for name, v in declared.items() if name in foreign]
    inferred = _infer(bare, known)
    typed = {v.name for v in inferred.value_info if v.type.WhichOneof("value")}
    if any(name not in typed for name in declared if name not in foreign):
        known = [v for name, v in declared.items() if name in foreign or name not in typed]
        inferred = _infer(bare, known)
    if not _is_complete(inferred) and not is_risky(bare.graph, inferred):
        inferred = _infer(bare, known, data=True)
    del proto.graph.value_info[:]
    proto.graph.value_info.MergeFrom(inferred.value_info)
    for mine, theirs in zip(proto.graph.output, inferred.output, strict=True):
        _settle_output(mine, theirs)
    _settle_resized(proto.graph)
    return proto


def bare_copy(proto: ModelProto) -> ModelProto:
    """A copy for shape inference: large tensors have no data."""
    bare = ModelProto()
    copy_fields(proto, bare, but=("graph",))
    bare_graph(proto.graph, bare.graph)
    return bare


def _settle_resized(graph: GraphProto) -> None:
    """Of a Resize whose size is written behind it as a Reshape, take that size: see `graph/dialects.py`."""
    shapers = {node.input[0]: node for node in graph.node if node.op_type == "Reshape" and node.input}
    if not shapers:
        return
    pairs = [(n.output[0], shapers[n.output[0]].output[0]) for n in graph.node
             if n.op_type == "Resize" and n.output[0] in shapers]  # fmt: skip
    infos = {v.name: v for v in (*graph.value_info, *graph.output)} if pairs else {}
    for raw, sized in pairs:
        if raw in infos and sized in infos:
            wrong, right = shape_of(infos[raw].type) or (), shape_of(infos[sized].type) or ()
            if len(wrong) == len(right):
                infos[raw].type.CopyFrom(infos[sized].type)


def _infer(bare: ModelProto, known: list[ValueInfoProto], data: bool = False) -> GraphProto:
    del bare.graph.value_info[:]
    bare.graph.value_info.extend(known)
    try:
        return infer_graph(bare, data)
    except INFERENCE_ERRORS:
        # Contradictory types. ONNX Runtime is the judge of such a model; only what it declares itself is known.
        return bare.graph


def _is_complete(inferred: GraphProto) -> bool:
    """Whether every size has a number or a name already, so that following computed sizes tells nothing more."""
    whole = {info.name for info in (*inferred.value_info, *inferred.output) if _is_whole(info.type)}
    return all(not name or name in whole for node in inferred.node for name in node.output)


def _is_whole(kind: TypeProto) -> bool:
    if not (kind.HasField("tensor_type") and kind.tensor_type.HasField("shape")):
        return False
    return all(dim.HasField("dim_value") or _is_named(dim.dim_param) for dim in kind.tensor_type.shape.dim)


def _is_named(symbol: str) -> bool:
    return bool(symbol) and not symbol.startswith("unk__")


# onnx follows the content of every vector whose length is known, number by number, however long it is.
_LONGEST_VECTOR = 1 << 20
_NO_LIMIT = (1 << 31) - 1  # "to the end", as an argument of Slice


def is_risky(bare: GraphProto, inferred: GraphProto) -> bool:
    """Whether following computed sizes might take memory without measure."""
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        dims = info.type.tensor_type.shape.dim
        if len(dims) == 1 and dims[0].dim_value > _LONGEST_VECTOR:
            return True
        if any(dim.dim_value >= _NO_LIMIT for dim in dims):
            return True
    for tensor in bare.initializer:
        if (
            tensor.data_type in (TensorProto.INT64, TensorProto.INT32)
            and external.nbytes(tensor) <= _SHAPE_ARGUMENT_BYTES
        ):
            values = np.abs(onnx.numpy_helper.to_array(tensor).astype(np.float64))
            if np.any((values > _LONGEST_VECTOR) & (values < _NO_LIMIT)):
                return True
    return False


def _settle_output(mine: ValueInfoProto, theirs: ValueInfoProto) -> None:
    """Take over what was inferred; sizes that the inference leaves open stay as they were declared."""
    if not theirs.type.WhichOneof("value"):
        return
    declared = ValueInfoProto()
    declared.CopyFrom(mine)
    mine.type.CopyFrom(theirs.type)
    if not (declared.type.HasField("tensor_type") and declared.type.tensor_type.HasField("shape")):
        return
    if not mine.type.HasField("tensor_type"):
        return
    if not mine.type.tensor_type.HasField("shape"):
        mine.type.tensor_type.shape.CopyFrom(declared.type.tensor_type.shape)
        return
    was, now = declared.type.tensor_type.shape.dim, mine.type.tensor_type.shape.dim
    if len(was) != len(now):
        return
    for before, after in zip(was, now, strict=True):
        if not after.HasField("dim_value") and not _is_named(after.dim_param):
            after.CopyFrom(before)


def bare_graph(graph: GraphProto, out: GraphProto) -> None:
    """A copy of `graph` whose large tensors have lost their data."""
    copy_fields(graph, out, but=("initializer",))
    for tensor in graph.initializer:
        if external.nbytes(tensor) <= _SHAPE_ARGUMENT_BYTES or tensor.data_type == TensorProto.STRING:
            out.initializer.append(tensor)
        else:
            out.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
