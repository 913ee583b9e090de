"""LayerNormalization with its statistics written out, for providers that have it with a single output only.

The gradient reads mean and inverse deviation, the optional outputs; OpenVINO's provider (onnxruntime-openvino 1.24.1)
refuses the model then.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from ..proto.nodes import opset_of, plain_domain

# From here on ReduceMean takes its axes as an input.
_OPSET = 18


def with_plain_layer_norms(proto: ModelProto) -> ModelProto:
    """The model with LayerNormalization of several outputs in simple operators; itself without any, and where its axis
    is counted from the front or the opset is older than 18: those stay."""
    found = {node.output[0] for node in proto.graph.node if _is_one(node)}
    if not found or opset_of(proto) < _OPSET:
        return proto
    made = ModelProto()
    made.CopyFrom(proto)
    del made.graph.node[:]
    for node in proto.graph.node:
        made.graph.node.extend(_written_out(node, made) if node.output and node.output[0] in found else [node])
    return made


def _is_one(node: NodeProto) -> bool:
    several = any(node.output[1:]) and node.op_type == "LayerNormalization" and not plain_domain(node.domain)
    return several and _axis(node) < 0 and _attribute(node, "stash_type", 1) == 1


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _axis(node: NodeProto) -> int:
    return _attribute(node, "axis", -1)


def _written_out(node: NodeProto, proto: ModelProto) -> Iterator[NodeProto]:
    """y = (x - mean) / sqrt(variance + epsilon) scale + bias."""
    name = f"{node.output[0]}/layer-norm"
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    for key, values in (("axes", np.arange(_axis(node), 0)), ("epsilon", np.float32(epsilon))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), f"{name}/{key}"))
    y, mean, inverse = (*node.output, "", "")[:3]
    mean, inverse = mean or f"{name}/mean", inverse or f"{name}/inverse"
    scale, bias = (*node.input, "")[1:3]
    normal = f"{name}/normal"
    steps = [
        ("ReduceMean", [node.input[0], f"{name}/axes"], mean),
        ("Sub", [node.input[0], mean], f"{name}/centred"),
        ("Mul", [f"{name}/centred", f"{name}/centred"], f"{name}/squares"),
        ("ReduceMean", [f"{name}/squares", f"{name}/axes"], f"{name}/variance"),
        ("Add", [f"{name}/variance", f"{name}/epsilon"], f"{name}/more"),
        ("Sqrt", [f"{name}/more"], f"{name}/deviation"),
        ("Reciprocal", [f"{name}/deviation"], inverse),
        ("Mul", [f"{name}/centred", inverse], normal),
        ("Mul", [normal, scale], f"{name}/scaled" if bias else y),
    ]
    steps += [("Add", [f"{name}/scaled", bias], y)] if bias else []
    for op, inputs, output in steps:
        yield onnx.helper.make_node(op, inputs, [output], name=output)
