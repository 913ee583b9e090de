"""onnx's shape inference, asked so that no model ends the process.

It follows sizes without judging them, and some of its operators rely on what nobody checked: a Slice that reads a size
below 0 (as behind a Pad that cuts more than there is, or a window larger than its input) ends the process with an
assertion of std::clamp, and a few operators read the type of an input that has none. ONNX Runtime holds a copy of it.
So those nodes are hidden until what they read is known and right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import onnx.shape_inference
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from ..errors import ModelError
from .lower_bounds import LowerBounds
from .nodes import DOMAIN_NAMES, all_nodes, plain_domain, subgraphs

# What the inference raises of a model that contradicts itself.
INFERENCE_ERRORS = (
    onnx.shape_inference.InferenceError,
    onnx.checker.ValidationError,
    RuntimeError,
    ValueError,
    KeyError,
    MemoryError,
)

_HIDDEN = "onnxray.hidden"
_NONE = -1  # the phase of what no slice lies before
# Those that end the process where an input has no type.
_NEED_TYPES = frozenset(
    (("", "RegexFullMatch"), *(("ai.onnx.ml", op) for op in ("DictVectorizer", "LabelEncoder", "TreeEnsemble")))
)


def infer_graph(bare: ModelProto, data: bool = False, strict: bool = False) -> GraphProto:
    """The graph of `bare` with what onnx infers. data: computed sizes are followed; strict: contradictions are raised.

    Raises INFERENCE_ERRORS, and ModelError for a size below 0.
    """
    nodes = {index: _key(node) for index, node in enumerate(bare.graph.node)}
    slices = [index for index, key in nodes.items() if key == ("", "Slice")]
    untyped = [index for index, key in nodes.items() if key in _NEED_TYPES]
    inside = [node for node in all_nodes(bare.graph) if _key(node) in _NEED_TYPES] if _has_subgraphs(bare.graph) else []
    if not slices and not untyped and not inside:
        return _asked(bare, data, strict)
    own = bare.graph.node
    with _hidden(bare, [*inside, *(own[index] for index in untyped)]):
        for phase in _phases(bare.graph, slices, data):
            with _hidden(bare, [own[index] for index in phase]):
                _refuse_negative_sizes(_asked(bare, data, False))
        if not untyped:
            return _asked(bare, data, strict)
    return _with_types(bare, untyped, data, strict)


def infer_node(
    schema: Any, node: NodeProto, types: Mapping[str, TypeProto], data: Mapping[str, TensorProto], opset: int
) -> dict[str, TypeProto]:
    """What onnx infers of the outputs of one node. Raises INFERENCE_ERRORS."""
    if _key(node) in _NEED_TYPES and any(name and not _typed(types.get(name)) for name in node.input):
        return {}
    if node.op_type == "Slice" and any(
        d.dim_value < 0 for n in node.input[:1] for d in types.get(n, TypeProto()).tensor_type.shape.dim
    ):
        raise onnx.shape_inference.InferenceError(f"the slice of {node.input[0]!r} reads a size below 0")
    imports = [onnx.helper.make_opsetid(plain_domain(node.domain), opset)]
    found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
        schema, node, dict(types), dict(data), opset_imports=imports
    )
    return found


def _key(node: NodeProto) -> tuple[str, str]:
    return plain_domain(node.domain), node.op_type


def _has_subgraphs(graph: GraphProto) -> bool:
    return any(True for node in graph.node if node.attribute for _ in subgraphs(node))


def _asked(bare: ModelProto, data: bool, strict: bool) -> GraphProto:
    return onnx.shape_inference.infer_shapes(bare, check_type=strict, strict_mode=strict, data_prop=data).graph


@contextmanager
def _hidden(bare: ModelProto, nodes: Sequence[NodeProto]) -> Iterator[None]:
    """Inside, the nodes are of an operator set that onnx does not know."""
    domains = [node.domain for node in nodes]
    for node in nodes:
        node.domain = _HIDDEN
    bare.opset_import.add(domain=_HIDDEN, version=1)
    try:
        yield
    finally:
        bare.opset_import.pop()
        for node, domain in zip(nodes, domains, strict=True):
            node.domain = domain


def _phases(graph: GraphProto, slices: Sequence[int], data: bool) -> Iterator[list[int]]:
    """Which slices to hide, phase by phase, so that the sizes which the next ones read have been seen before.

    A slice belongs to the next phase where an operator that can make a size below 0 lies between it and another slice;
    with none before it, it need not be hidden. data: as of `infer_graph`.
    """
    reached: dict[str, tuple[int, bool]] = {}
    phase_of: dict[int, int] = {}
    bounds = LowerBounds(graph, data)
    for index, node in enumerate(graph.node):
        phase, risky = max((reached[name] for name in node.input if name in reached), default=(_NONE, False))
        if node.op_type == "Slice" and node.domain in DOMAIN_NAMES:
            phase, risky = phase + risky, False
            phase_of[index] = phase
        found = phase, bounds.can_go_below(node) or risky
        if found != (_NONE, False):
            reached.update((name, found) for name in node.output)
    for phase in range(max(phase_of.values(), default=_NONE) + 1):
        yield [index for index in slices if phase_of[index] >= phase]


def _refuse_negative_sizes(graph: GraphProto) -> None:
    for info in (*graph.value_info, *graph.output):
        sizes = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        if sizes and min(sizes) < 0:
            raise ModelError(
                f"the value {info.name!r} would have the shape {sizes}: a Pad cuts more than there is, or a window is "
                "larger than its input; the model is damaged, or its input too small"
            )


def _typed(kind: TypeProto | None) -> bool:
    return kind is not None and kind.WhichOneof("value") is not None


def _with_types(bare: ModelProto, untyped: Sequence[int], data: bool, strict: bool) -> GraphProto:
    """The inference, with every node of `untyped` hidden until all that it reads has a type; `inside` stay hidden."""
    waiting = list(untyped)
    inside = [n for node in bare.graph.node for g in subgraphs(node) for n in all_nodes(g) if _key(n) in _NEED_TYPES]
    while True:
        with _hidden(bare, [*inside, *(bare.graph.node[index] for index in waiting)]):
            found = _asked(bare, data, strict)
        known = {t.name for t in found.initializer}
        known |= {v.name for v in (*found.input, *found.value_info) if _typed(v.type)}
        left = [i for i in waiting if any(name and name not in known for name in bare.graph.node[i].input)]
        if left == waiting:
            return found
        waiting = left
