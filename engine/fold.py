"""Constant folding at load time: what depends on nothing that is fed becomes an initializer of the same name.

Only what is no parameter of the network is folded: values computed from `Constant` nodes and from statically known shapes,
and every integer or boolean value. A float computed from an initializer (a transposed or de-quantised weight) stays a node,
so that its gradient with respect to the initializer still exists; ONNX Runtime folds it when a session is made.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from . import external, graph

# Results of random or stateful operators are no constants; quantised weights stay in the form that integer kernels want.
_NEVER = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike Dropout If Loop Scan "
    "QuantizeLinear DequantizeLinear DynamicQuantizeLinear StringNormalizer StringConcat StringSplit".split()
)
_MOST_BYTES = 16 << 20
_MOST_ROUNDS = 8


def fold_constants(proto: ModelProto) -> ModelProto:
    """Fold `proto` in place, until nothing more folds, and infer shapes again. Returns it."""
    parameters = {t.name for t in proto.graph.initializer}
    fed = {v.name for v in proto.graph.input}
    _constants_to_initializers(proto.graph)
    for _ in range(_MOST_ROUNDS):
        if not _fold_once(proto, parameters, fed):
            break
        graph.infer_shapes(proto)
    return proto


def _constants_to_initializers(target: GraphProto) -> None:
    outputs = {v.name for v in target.output}
    kept: list[NodeProto] = []
    for node in target.node:
        tensor = constant_tensor(node) if node.op_type == "Constant" and node.domain in graph.DOMAIN_NAMES else None
        if tensor is None or node.output[0] in outputs:
            kept.append(node)
        else:
            tensor.name = node.output[0]
            target.initializer.append(tensor)
    _replace_nodes(target, kept)


def constant_tensor(node: NodeProto) -> TensorProto | None:
    """A copy of the tensor that a `Constant` node holds; None for sparse and string ones."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            if attribute.t.data_type == TensorProto.STRING:
                return None
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
            return tensor
        value: Any = onnx.helper.get_attribute_value(attribute)
        if attribute.name in ("value_float", "value_floats"):
            return onnx.numpy_helper.from_array(np.asarray(value, np.float32))
        if attribute.name in ("value_int", "value_ints"):
            return onnx.numpy_helper.from_array(np.asarray(value, np.int64))
    return None


def _fold_once(proto: ModelProto, parameters: set[str], fed: set[str]) -> bool:
    from . import session

    target = proto.graph
    known = {t.name: t for t in target.initializer if t.name not in fed}
    shapes = {v.name: graph._value(v) for v in (*target.value_info, *target.output, *target.input)}
    outputs = {v.name for v in target.output}
    folded: list[NodeProto] = []
    direct: list[TensorProto] = []
    kept: list[NodeProto] = []
    constant = set(known)
    for node in target.node:
        if any(name in outputs for name in node.output) or node.domain not in graph.DOMAIN_NAMES:
            kept.append(node)
        elif (tensor := _static_shape(node, shapes, known)) is not None:
            direct.append(tensor)
        elif _foldable(node, constant, parameters, shapes, known):
            folded.append(node)
            constant.update(node.output)
        else:
            kept.append(node)
    if not folded and not direct:
        return False
    target.initializer.extend(direct)
    if folded:
        target.initializer.extend(_evaluate(proto, folded, known, session.evaluate))
    _replace_nodes(target, kept)
    return True


def _static_shape(
    node: NodeProto, shapes: dict[str, graph.Value], known: dict[str, TensorProto]
) -> TensorProto | None:
    if node.op_type not in ("Shape", "Size") or not node.input:
        return None
    name = node.input[0]
    shape: graph.Shape | None
    if name in known:
        shape = tuple(known[name].dims)
    else:
        shape = shapes[name].shape if name in shapes else None
    if shape is None:
        return None
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "Shape":
        shape = shape[slice(attributes.get("start", 0), attributes.get("end"))]
    if not all(isinstance(d, int) for d in shape):
        return None
    result = list(shape) if node.op_type == "Shape" else math.prod(d for d in shape if isinstance(d, int))
    return onnx.numpy_helper.from_array(np.asarray(result, np.int64), node.output[0])


def _foldable(
    node: NodeProto,
    constant: set[str],
    parameters: set[str],
    shapes: dict[str, graph.Value],
    known: dict[str, TensorProto],
) -> bool:
    inputs = [name for name in node.input if name]
    if node.op_type in _NEVER or not inputs or not constant.issuperset(inputs) or any(graph.subgraphs(node)):
        return False
    size = sum(external.nbytes(known[name]) for name in inputs if name in known)
    for name in node.output:
        value = shapes.get(name)
        if not name:
            continue
        if value is None or value.dtype is None or value.shape is None:
            return False
        if not all(isinstance(d, int) for d in value.shape) or value.dtype.kind not in "iubf":
            return False
        # A hostile or careless model can make a tensor of any size out of a few numbers.
        if math.prod(d for d in value.shape if isinstance(d, int)) * value.dtype.itemsize > _MOST_BYTES + size:
            return False
        if value.dtype.kind == "f" and not parameters.isdisjoint(inputs):
            return False
        if value.dtype.kind == "f":
            continue
    # What is computed from a parameter is one too, as long as it stays a float.
    if not parameters.isdisjoint(inputs):
        parameters.update(n for n in node.output if n in shapes and getattr(shapes[n].dtype, "kind", "") == "f")
    return True


def _evaluate(proto: ModelProto, nodes: list[NodeProto], known: dict[str, TensorProto], run: Any) -> list[TensorProto]:
    names = [name for node in nodes for name in node.output if name]
    needed = {name for node in nodes for name in node.input}
    part = ModelProto(ir_version=proto.ir_version)
    part.opset_import.extend(proto.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(tensor for name, tensor in known.items() if name in needed)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return [onnx.numpy_helper.from_array(np.ascontiguousarray(v).reshape(v.shape), k) for k, v in run(part, names).items()]


def _replace_nodes(target: GraphProto, kept: list[NodeProto]) -> None:
    if len(kept) == len(target.node):
        return
    copies = [NodeProto.FromString(node.SerializeToString()) for node in kept]
    del target.node[:]
    target.node.extend(copies)
