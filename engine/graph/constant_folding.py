"""Constant folding at load time: what depends on nothing that is fed becomes an initializer of the same name.

Only what is no parameter of the network is folded: values computed from `Constant` nodes and from statically known
shapes, and every integer or boolean value. A float computed from an initializer (a transposed or de-quantised weight)
stays a node, so that its gradient with respect to the initializer still exists; ONNX Runtime folds it when a session is
made. Matrices in `Constant` nodes are parameters as well: several exporters keep all weights there.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from ..errors import ModelError, ShapeError
from ..proto import external_data as external
from ..proto.edit import replace_nodes
from ..proto.nodes import DOMAIN_NAMES, subgraphs
from ..proto.shape_inference import infer_shapes
from ..proto.values import Shape, Value, constant_tensor, from_info
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
_MOST_ROUNDS = 8


def fold_constants(proto: ModelProto) -> ModelProto:
    """Fold `proto` in place, until nothing more folds, and infer shapes. Returns it."""
    parameters = {t.name for t in proto.graph.initializer}
    parameters |= _constants_to_initializers(proto.graph)
    fed = {v.name for v in proto.graph.input}
    budget = _MOST_BYTES_IN_ALL
    for _ in range(_MOST_ROUNDS):
        before = len(proto.graph.node)
        infer_shapes(proto)
        budget -= _fold_once(proto, parameters, fed, budget)
        if len(proto.graph.node) == before:
            return proto
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


def _fold_once(proto: ModelProto, parameters: set[str], fed: set[str], budget: int) -> int:
    """Fold what can be folded now; bytes of the results."""
    target = proto.graph
    known = {t.name: t for t in target.initializer if t.name not in fed and not external.is_external(t)}
    infos = (*target.value_info, *target.output, *target.input)
    shapes = {v.name: from_info(v) for v in infos}
    outputs = {v.name for v in target.output}
    constant = set(known)
    folded: list[NodeProto] = []
    direct: list[TensorProto] = []
    kept: list[NodeProto] = []
    spent = 0
    for node in target.node:
        size = None
        if any(name in outputs for name in node.output) or node.domain not in DOMAIN_NAMES:
            kept.append(node)
        elif (tensor := _static_shape(node, shapes, known)) is not None:
            direct.append(tensor)
        elif (size := _foldable(node, constant, parameters, shapes, known)) is not None and spent + size <= budget:
            folded.append(node)
            constant.update(node.output)
            spent += size
        else:
            kept.append(node)
    results = _evaluate(proto, folded, known) if folded else []
    if results is None:
        kept = [node for node in target.node if not any(t.name in node.output for t in direct)]
        results = []
    if direct or results:
        target.initializer.extend(direct)
        target.initializer.extend(results)
        replace_nodes(target, kept)
    return spent


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
