"""From a parsed file to a graph that everything else can rely on.

opsets checked -> functions inlined -> an IR version that is read -> opset >= 7 -> order, names -> shapes inferred and
constants folded -> forms that others misread
"""

from __future__ import annotations

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from ..errors import ModelError, OpsetError
from ..proto.nodes import MIN_IR, RUNTIME_OPSET, all_nodes, label, opset_of, plain_domain, subgraphs
from ..proto.validate import check_order, check_wellformed
from .constant_folding import fold_constants
from .dialects import settle_dialects
from .ir_version import lower_ir_version
from .legacy_opsets import upgrade_ancient

# A function may call another one ten times, which calls another one ten times, ...
_MOST_INLINED_NODES = 1_000_000


def prepare(proto: ModelProto) -> ModelProto:
    """Normalise a well-formed model in the order of this module's diagram. The argument may be modified.

    Raises ModelError (the model contradicts itself), OpsetError (too new, or too old and not convertible).
    """
    _check_opsets(proto)
    proto = _inline_functions(proto)
    lower_ir_version(proto)
    if opset_of(proto) < RUNTIME_OPSET:
        check_order(proto.graph)
        proto = upgrade_ancient(proto)
        check_wellformed(proto)
    _drop_negative_sizes(proto.graph)
    if proto.ir_version < 4:
        # Before IR 4 every initializer had to be listed as an input; as plain initializers they can be folded.
        stored = {t.name for t in proto.graph.initializer}
        kept = [v for v in proto.graph.input if v.name not in stored]
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
    proto.ir_version = max(proto.ir_version, MIN_IR)
    proto.graph.name = proto.graph.name or "graph"  # the checker wants one
    check_order(proto.graph)
    return settle_dialects(fold_constants(proto))


def _drop_negative_sizes(graph: GraphProto) -> None:
    """Some exporters write -1 for an unknown size, which the native inference of onnx does not survive."""
    for info in (*graph.input, *graph.output, *graph.value_info):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.ClearField("dim_value")
    for node in graph.node:
        for inner in subgraphs(node):
            _drop_negative_sizes(inner)


def _check_opsets(proto: ModelProto) -> None:
    if not proto.graph.output:
        raise ModelError("the model's graph has no output: the file is truncated or was exported wrongly")
    if proto.ir_version > onnx.IR_VERSION:
        raise OpsetError(
            f"the model has IR version {proto.ir_version}, the installed onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}: upgrade onnx and onnxruntime, or export with an older version"
        )
    if not proto.opset_import and proto.ir_version < 3:
        proto.opset_import.add(domain="", version=1)  # the first files did not state it
    newest = onnx.defs.onnx_opset_version()
    if opset_of(proto) > newest:
        raise OpsetError(
            f"the model uses opset {opset_of(proto)}, the installed onnx {onnx.__version__} knows up to {newest}: "
            "upgrade onnx and onnxruntime, or export with an older opset"
        )
    imported = {plain_domain(o.domain) for o in proto.opset_import}
    for node in all_nodes(proto.graph):
        if plain_domain(node.domain) not in imported:
            raise ModelError(
                f"node {label(node)} is of the operator set {node.domain or 'ai.onnx'!r}, of which the model does not "
                "state the version (opset_import): the file is damaged or was exported wrongly"
            )


def _inline_functions(proto: ModelProto) -> ModelProto:
    if not proto.functions:
        return proto
    import onnx.inliner

    _check_functions(proto)
    try:
        return onnx.inliner.inline_local_functions(proto)
    except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).split("\n")[0].strip()
        raise ModelError(
            f"the functions of the model cannot be inlined ({reason}): export it without functions"
        ) from None


_DEEPEST_CALL = 200


def _check_functions(proto: ModelProto) -> None:
    """Functions that call each other in a circle or grow beyond measure cannot be inlined."""
    functions = {(plain_domain(f.domain), f.name, f.overload): f for f in proto.functions}
    sizes: dict[tuple[str, str, str], int] = {}
    open_calls: set[tuple[str, str, str]] = set()

    def size(nodes: list[NodeProto]) -> int:
        return sum(1 + function_size((plain_domain(n.domain), n.op_type, n.overload)) for n in nodes)

    def function_size(key: tuple[str, str, str]) -> int:
        function = functions.get(key)
        if function is None:
            return 0
        if key in open_calls:
            raise ModelError(f"function {key[1]!r} of the model calls itself: export it without functions")
        if key not in sizes:
            if len(open_calls) > _DEEPEST_CALL:
                raise ModelError("the model's functions call each other too deep: export it without functions")
            open_calls.add(key)
            sizes[key] = size(_function_nodes(function))
            open_calls.remove(key)
        return sizes[key]

    if size(list(all_nodes(proto.graph))) > _MOST_INLINED_NODES:
        raise ModelError(
            f"the model's functions expand to more than {_MOST_INLINED_NODES} nodes: export it without functions"
        )


def _function_nodes(function: FunctionProto) -> list[NodeProto]:
    found = []
    for node in function.node:
        found.append(node)
        for graph in subgraphs(node):
            found.extend(all_nodes(graph))
    return found
