"""Forms that exporters write and that others misread, written as everybody reads them; done once, at load.

optional inputs at the end that are named ""       cut off: ONNX Runtime's LayerNormalization crashes on one
optional input that is a tensor without elements   left out
sequences of tensors that are known                those tensors: see `sequences.py`
Pad with `axes` (opset 18)                         amounts for every axis: ONNX Runtime's transpose optimiser takes
                                                   them for that
Resize by a scale whose product with the size      the size that ONNX Runtime gives is written behind it as a
rounds differently in float32 and float64          Reshape: its own shape inference says another one
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from ..errors import ModelError
from ..proto import external_data as external
from ..proto.arguments import Unreadable, numbers_of, pads_of
from ..proto.edit import replace_nodes
from ..proto.nodes import DOMAIN_NAMES, MIN_IR, all_nodes, opset_of, subgraphs
from ..proto.shape_inference import infer_shapes
from ..proto.values import Shape, constant_tensor, from_info
from ..runtime import trial
from .sequences import settle_sequences

# Inputs that mean the same without elements as left out. `scales` of a Resize could not be left out before opset 13.
_EMPTY_IS_ABSENT: Mapping[str, tuple[int, ...]] = {"Resize": (1, 2, 3)}
_EMPTY_FROM_OPSET = 13
# How near to a whole number the product of size and scale is where float32 and float64 may disagree.
_NEAR = 1e-4
_MOST_ELEMENTS = 1 << 22
_SMALL = 4096  # bytes of an argument


def settle_dialects(proto: ModelProto) -> ModelProto:
    """`proto`, changed in place; types inferred anew where that matters. Raises ModelError."""
    if opset_of(proto) >= _EMPTY_FROM_OPSET:
        _leave_out(proto.graph, frozenset())
    for node in all_nodes(proto.graph):
        while len(node.input) > 1 and not node.input[-1]:
            del node.input[-1]
    if settle_sequences(proto):
        infer_shapes(proto)
    constants = {t.name: t for t in proto.graph.initializer}
    constants = {n: t for n, t in constants.items() if n not in {v.name for v in proto.graph.input}}
    _pad_all_axes(proto, constants)
    settled: set[str] = set()
    # One after the other: the sizes behind one decide on the next.
    while _settle_a_resize(proto, constants, settled):
        infer_shapes(proto)
    return proto


def _leave_out(graph: GraphProto, outer: frozenset[str]) -> None:
    """Leave out inputs that are named, but hold nothing."""
    fed = {v.name for v in graph.input}
    empty = {t.name for t in graph.initializer if 0 in t.dims and t.name not in fed}
    for node in graph.node:
        tensor = constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is not None and 0 in tensor.dims:
            empty.add(node.output[0])
    named = frozenset((outer - fed) | empty)
    for node in graph.node:
        if node.domain in DOMAIN_NAMES:
            for place in _EMPTY_IS_ABSENT.get(node.op_type, ()):
                if place < len(node.input) and node.input[place] in named:
                    node.input[place] = ""
        if node.attribute:
            for inner in subgraphs(node):
                _leave_out(inner, named)


def _pad_all_axes(proto: ModelProto, constants: Mapping[str, TensorProto]) -> None:
    """Write the constant amounts of a Pad with `axes` for every axis."""
    graph = proto.graph
    ranks: dict[str, int] = {}
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type != "Pad" or node.domain not in DOMAIN_NAMES or len(node.input) < 4 or not node.input[3]:
            continue
        if not ranks:
            infos = (*graph.value_info, *graph.output, *graph.input)
            ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in infos if v.type.tensor_type.HasField("shape")}
            ranks |= {name: len(t.dims) for name, t in constants.items()}
        if node.input[0] not in ranks:
            continue
        try:
            pads = pads_of(node, ranks[node.input[0]], lambda name: _array(constants, name))
        except Unreadable:
            continue
        amounts = np.array([p[0] for p in pads] + [p[1] for p in pads], np.int64)
        taken = taken or _taken(graph)
        node.input[1] = _store(graph, f"{node.output[0]}_pads", amounts, taken)
        del node.input[3:]
        while not node.input[-1]:
            del node.input[-1]


def _settle_a_resize(proto: ModelProto, constants: Mapping[str, TensorProto], settled: set[str]) -> bool:
    """Write the size behind the first Resize whose inferred one is wrong and that is not in `settled`, which it joins.

    Returns whether there was one.
    """
    graph = proto.graph
    if not any(node.op_type == "Resize" for node in graph.node):
        return False
    shapes = {v.name: from_info(v).shape for v in (*graph.value_info, *graph.output, *graph.input)}
    for index, node in enumerate(graph.node):
        if node.op_type != "Resize" or node.domain not in DOMAIN_NAMES or node.output[0] in settled:
            continue
        if not _is_near(node, shapes, constants):
            continue
        seen = _size_of_a_run(node, shapes[node.input[0]] or (), constants, proto.opset_import)
        inferred = shapes.get(node.output[0])
        known = [(d, one) for d, one in zip(inferred or (), seen or (), strict=False) if isinstance(d, int)]
        if seen is None or inferred is None or all(d in (one, 1) for d, one in known):
            continue
        name = node.output[0]
        taken = _taken(graph)
        node.output[0] = _unused(taken, f"{name}_resized")
        settled.add(node.output[0])
        # A size that is open is copied.
        copied = [one if isinstance(d, int) else 0 for d, one in zip(inferred, seen, strict=True)]
        size = _store(graph, f"{name}_size", np.array(copied, np.int64), taken)
        reshape = NodeProto(op_type="Reshape", name=f"{name}_sized", input=[node.output[0], size], output=[name])
        replace_nodes(graph, [*graph.node[: index + 1], reshape, *graph.node[index + 1 :]])
        return True
    return False


def _is_near(node: NodeProto, shapes: Mapping[str, Shape | None], constants: Mapping[str, TensorProto]) -> bool:
    """Whether one of the sizes is nearly, but not exactly, a whole number before it is rounded down."""
    try:
        scales = numbers_of(node, None, 2, lambda name: _array(constants, name))
    except Unreadable:
        return False
    sizes = shapes.get(node.input[0])
    axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
    if scales is None or not isinstance(sizes, tuple):
        return False
    places = range(len(sizes)) if axes is None else axes
    for place, scale in zip(places, scales, strict=False):
        size = sizes[place] if -len(sizes) <= place < len(sizes) else None
        product = size * float(scale) if isinstance(size, int) else 0.0
        if product != round(product) and abs(product - round(product)) < _NEAR * max(product, 1.0):
            return True
    return False


def _size_of_a_run(
    node: NodeProto, before: Shape, constants: Mapping[str, TensorProto], opsets: Sequence[onnx.OperatorSetIdProto]
) -> tuple[int, ...] | None:
    """The shape that ONNX Runtime gives the Resize, open sizes taken as 1; None if it cannot be run."""
    shape = [d if isinstance(d, int) else 1 for d in before]
    if math.prod(shape) > _MOST_ELEMENTS or any(name and name not in constants for name in node.input[1:]):
        return None
    probe = ModelProto(ir_version=MIN_IR, opset_import=opsets)
    probe.graph.name = "resize"
    probe.graph.node.append(node)
    probe.graph.initializer.extend(constants[name] for name in node.input[1:] if name)
    probe.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), node.input[0]))
    probe.graph.output.add(name=node.output[0])
    try:
        return trial.evaluate_constant(probe, [node.output[0]])[node.output[0]].shape
    except ModelError:
        return None  # which ONNX Runtime will say again when the model is run


def _array(constants: Mapping[str, TensorProto], name: str) -> np.ndarray | None:
    tensor = constants.get(name)
    small = tensor is not None and not external.is_external(tensor) and external.nbytes(tensor) <= _SMALL
    return onnx.numpy_helper.to_array(tensor) if tensor is not None and small else None


def _store(graph: GraphProto, name: str, array: np.ndarray, taken: set[str]) -> str:
    """Store a vector of int64 in the graph under that name or one like it, which is returned."""
    name = _unused(taken, name)
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.int64), name))
    return name


def _taken(graph: GraphProto) -> set[str]:
    """The names that values of the graph have."""
    taken = {t.name for t in graph.initializer} | {v.name for v in graph.input}
    taken.update(o for node in all_nodes(graph) for o in node.output)
    return taken


def _unused(taken: set[str], name: str) -> str:
    """A name like that one which is free, and taken from now on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
