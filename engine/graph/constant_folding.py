"""Constant folding at load time: what depends on nothing that is fed becomes an initializer of the same name.

Only what is no parameter of the network is folded: values computed from `Constant` nodes and from statically known
shapes, and every integer or boolean value. A float computed from an initializer (a transposed or de-quantised weight)
stays a node, so that its gradient with respect to the initializer still exists; ONNX Runtime folds it when a session is
made. Matrices in `Constant` nodes are parameters as well: several exporters keep all weights there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from ..errors import ModelError, ShapeError
from ..proto import external_data as external
from ..proto.edit import replace_nodes
from ..proto.guarded_inference import INFERENCE_ERRORS, infer_node
from ..proto.nodes import DOMAIN_NAMES, opset_of, subgraphs
from ..proto.shape_inference import infer_shapes
from ..proto.values import Shape, Value, constant_tensor, dtype_of, from_info, tensor_type
from ..runtime import trial

# Results of random operators are no constants; quantised weights stay in the form that integer kernels want.
_NEVER = frozenset(
    """Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike Dropout If Loop Scan
    QuantizeLinear DequantizeLinear DynamicQuantizeLinear StringNormalizer StringConcat StringSplit""".split()
)
# A hostile or careless model can make tensors of any size out of a few numbers: bytes of one result, beyond the size of
# what it is computed from, and of all results together.
_MOST_BYTES = 16 << 20
_MOST_BYTES_IN_ALL = 64 << 20
_ARGUMENT_BYTES = 4096  # of a constant that inference looks into
# One round carries sizes through the whole graph: more than two are for what inference node by node leaves open.
_MOST_ROUNDS = 100


def fold_constants(proto: ModelProto) -> ModelProto:
    """Fold `proto` in place, until nothing more folds, and infer shapes. Returns it.

    Warns (UserWarning) where that takes more rounds than the limit.
    """
    parameters = {t.name for t in proto.graph.initializer}
    parameters |= _constants_to_initializers(proto.graph)
    fed = {v.name for v in proto.graph.input}
    budget = _MOST_BYTES_IN_ALL
    for _ in range(_MOST_ROUNDS):
        before = len(proto.graph.node)
        infer_shapes(proto)
        budget -= _Round(proto, parameters, fed, budget).fold()
        if len(proto.graph.node) == before:
            return proto
    warnings.warn(
        f"constants of the model are still being computed after {_MOST_ROUNDS} rounds: sizes that depend on the rest "
        "count as unknown; simplify the model (onnxsim) to have them",
        stacklevel=2,
    )
    return infer_shapes(proto)


def _constants_to_initializers(target: GraphProto) -> set[str]:
    """Make initializers of `Constant` nodes; the names of those that hold parameters."""
    outputs = {v.name for v in target.output}
    kept: list[NodeProto] = []
    parameters = set()
    for node in target.node:
        tensor = constant_tensor(node) if node.op_type == "Constant" and node.domain in DOMAIN_NAMES else None
        if tensor is None or node.output[0] in outputs:
            kept.append(node)
            continue
        tensor.name = node.output[0]
        if len(tensor.dims) > 1 and _is_float(tensor.data_type):
            parameters.add(tensor.name)
        target.initializer.append(tensor)
    if len(kept) < len(target.node):
        replace_nodes(target, kept)
    return parameters


def _is_float(elem_type: int) -> bool:
    return bool(onnx.helper.tensor_dtype_to_np_dtype(elem_type).kind == "f")


class _Shapes(dict[str, Value]):
    """name -> what is known of the value: read from its declaration when it is asked for, as few are."""

    def __init__(self, infos: Mapping[str, ValueInfoProto]) -> None:
        super().__init__()
        self._infos = infos

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._infos

    def __missing__(self, name: str) -> Value:
        self[name] = value = from_info(self._infos[name])
        return value

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


class _Round:
    """One walk over the graph, which folds what can be folded and carries the sizes so found to the nodes behind.

    known    name -> constant; those of folded nodes once somebody needs them
    waiting  folded nodes whose results nobody has needed yet: they are computed together
    fresh    values of which this walk found out more than the inference before it knew
    """

    def __init__(self, proto: ModelProto, parameters: set[str], fed: set[str], budget: int) -> None:
        self.proto, self.parameters, self.budget = proto, parameters, budget
        graph = proto.graph
        self.known = {t.name: t for t in graph.initializer if t.name not in fed and not external.is_external(t)}
        infos = (*graph.value_info, *graph.output, *graph.input)
        self.types: dict[str, TypeProto] = {v.name: v.type for v in infos}
        self.shapes = _Shapes({v.name: v for v in infos})
        self.opset = opset_of(proto)
        self.fresh: set[str] = set()
        self.constant = set(self.known)
        self.waiting: list[NodeProto] = []
        self.found: dict[str, TensorProto] = {}
        self.refused: set[str] = set()

    def fold(self) -> int:
        """Fold; bytes of the results."""
        outputs = {v.name for v in self.proto.graph.output}
        spent, folded = 0, []
        for index, node in enumerate(self.proto.graph.node):
            if node.domain not in DOMAIN_NAMES:
                continue
            self._carry(node)
            if any(name in outputs for name in node.output):
                continue
            tensor = _static_shape(node, self.shapes, self.known)
            if tensor is not None:
                self._settle(tensor)
                folded.append(index)
                continue
            size = _foldable(node, self.constant, self.parameters, self.shapes, self.known)
            if size is not None and spent + size <= self.budget:
                folded.append(index)
                self.constant.update(node.output)
                self.fresh.update(node.output)
                self.waiting.append(node)
                spent += size
        self._compute()
        gone = {i for i in folded if not self.refused.intersection(self.proto.graph.node[i].output)}
        if gone:
            self.proto.graph.initializer.extend(self.found.values())
            kept = [node for i, node in enumerate(self.proto.graph.node) if i not in gone]
            replace_nodes(self.proto.graph, kept)
        return spent

    def _settle(self, tensor: TensorProto) -> None:
        self.found[tensor.name] = self.known[tensor.name] = tensor
        self.constant.add(tensor.name)
        self.fresh.add(tensor.name)
        self.types[tensor.name] = tensor_type(tensor.data_type, tuple(tensor.dims))
        self.shapes[tensor.name] = Value(tensor.name, dtype_of(tensor.data_type), tuple(tensor.dims))

    def _compute(self) -> None:
        """Have the waiting nodes computed. Where ONNX Runtime refuses that, they stay in the graph."""
        if not self.waiting:
            return
        results = _evaluate(self.proto, self.waiting, self.known)
        names = {name for node in self.waiting for name in node.output if name}
        self.waiting = []
        if results is None:
            self.refused |= names
            self.constant -= names
            return
        for tensor in results:
            self._settle(tensor)

    def _carry(self, node: NodeProto) -> None:
        """Infer the node's outputs anew where this walk knows more of its inputs and their sizes are open."""
        if self.fresh.isdisjoint(node.input) or any(subgraphs(node)):
            return
        if all(name in self.shapes and _is_static(self.shapes[name]) for name in node.output if name):
            return
        if not onnx.defs.has(node.op_type, self.opset, ""):
            return
        if any(name in done.output for done in self.waiting for name in node.input):
            self._compute()
        small = {
            name: self.known[name]
            for name in node.input
            if name in self.known and external.nbytes(self.known[name]) <= _ARGUMENT_BYTES
        }
        types = {name: self._type(name) for name in node.input if name}
        schema = onnx.defs.get_schema(node.op_type, self.opset, "")
        try:
            found = infer_node(schema, node, types, small, self.opset)
        except INFERENCE_ERRORS:
            return  # a contradiction: ONNX Runtime is its judge
        for name, kind in found.items():
            value = from_info(ValueInfoProto(name=name, type=kind))
            if name and _is_static(value) and value != self.shapes.get(name):
                self.types[name], self.shapes[name] = kind, value
                self.fresh.add(name)

    def _type(self, name: str) -> TypeProto:
        if name not in self.types and name in self.known:
            tensor = self.known[name]
            return tensor_type(tensor.data_type, tuple(tensor.dims))
        return self.types.get(name, TypeProto())


def _is_static(value: Value) -> bool:
    return value.dtype is not None and value.shape is not None and all(isinstance(d, int) for d in value.shape)


def _static_shape(node: NodeProto, shapes: dict[str, Value], known: dict[str, TensorProto]) -> TensorProto | None:
    if node.op_type not in ("Shape", "Size") or not node.input:
        return None
    name = node.input[0]
    shape: Shape | None
    if name in known:
        shape = tuple(known[name].dims)
    else:
        shape = shapes[name].shape if name in shapes else None
    if shape is None:
        return None
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "Shape":
        shape = shape[slice(attributes.get("start", 0), attributes.get("end"))]
    sizes = [d for d in shape if isinstance(d, int)]
    if len(sizes) < len(shape) or math.prod(sizes) >= 1 << 63:
        return None
    result = sizes if node.op_type == "Shape" else math.prod(sizes)
    return onnx.numpy_helper.from_array(np.asarray(result, np.int64), node.output[0])


def _foldable(
    node: NodeProto,
    constant: set[str],
    parameters: set[str],
    shapes: dict[str, Value],
    known: dict[str, TensorProto],
) -> int | None:
    """Bytes of the node's results if it can be folded, else None."""
    inputs = [name for name in node.input if name]
    if node.op_type in _NEVER or not inputs or not constant.issuperset(inputs) or any(subgraphs(node)):
        return None
    allowed = _MOST_BYTES + sum(external.nbytes(known[name]) for name in inputs if name in known)
    total = 0
    for name in node.output:
        if not name:
            continue
        value = shapes.get(name)
        if value is None or value.dtype is None or value.shape is None or value.dtype.kind not in "iubf":
            return None
        if value.dtype.kind == "f" and not parameters.isdisjoint(inputs):
            return None
        sizes = [d for d in value.shape if isinstance(d, int)]
        if len(sizes) < len(value.shape):
            return None
        total += math.prod(sizes) * value.dtype.itemsize
    return total if total <= allowed else None


def _evaluate(proto: ModelProto, nodes: list[NodeProto], known: dict[str, TensorProto]) -> list[TensorProto] | None:
    """The results of `nodes`; None if ONNX Runtime refuses them, which it will say again when the model is run."""
    names = [name for node in nodes for name in node.output if name]
    needed = {name for node in nodes for name in node.input}
    part = ModelProto(ir_version=proto.ir_version)
    part.opset_import.extend(proto.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(tensor for name, tensor in known.items() if name in needed)
    part.graph.output.extend(ValueInfoProto(name=name) for name in names)
    try:
        results = trial.evaluate_constant(part, names)
    except (ModelError, ShapeError):
        return None
    # ascontiguousarray makes a scalar a vector of one element.
    return [onnx.numpy_helper.from_array(np.ascontiguousarray(v).reshape(v.shape), k) for k, v in results.items()]
