"""Choosing the explained classes inside a gradient graph, so that the predicted class costs no second pass.

    cotangent/<of>  =  sum over j of  weights[:, j] * onehot(classes[:, j])

`classes` int64 (N, J) holds class indices, or -r for the class of rank r (-1 is the predicted one), which the graph
looks up in its own answer; `weights` (N, J) has the type of the scores. One graph so serves every class, contrast
and rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ..graph.model import Model
from ..proto.edit import drop, ordered, replace_nodes
from ..proto.writer import Writer

CLASSES, WEIGHTS = "target/classes", "target/weights"
_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def select_classes(gradient: Model, of: str, cotangent: str, axis: int) -> Model:
    """A gradient graph (opset >= 13) whose input `cotangent` became the inputs `target/classes` and `target/weights`.

    `of` is the value with the class scores, `axis` that of the classes in it. Everything else stays as it is; the model
    given is consumed.
    """
    seed = next(v for v in gradient.untyped.graph.input if v.name == cotangent)
    kind = seed.type.tensor_type.elem_type
    build = _ClassWriter()
    axes = build.constant("last", np.array([axis], np.int64))
    shape = build.emit("Shape", of)
    depth = build.emit("Gather", shape, axes, axis=0)
    flat_shape = build.emit("Concat", build.constant("any", np.array([-1], np.int64)), depth, axis=0)
    scores = build.emit("Reshape", of, flat_shape)
    if kind in _HALVES:
        scores = build.emit("Cast", scores, to=TensorProto.FLOAT)
    one, zero = build.constant("one", np.array([1], np.int64)), build.constant("zero", np.array([0], np.int64))
    rank = build.emit("Neg", CLASSES)
    most = build.emit("ReduceMax", rank, keepdims=0)
    k = build.emit("Reshape", build.emit("Max", most, one), one)
    ranked = build.emit("TopK", scores, k, axis=-1, outputs=2)
    place = build.emit("Max", build.emit("Sub", rank, one), zero)
    by_rank = build.emit("GatherElements", ranked, place, axis=1)
    chosen = build.emit("Where", build.emit("Less", CLASSES, zero), by_rank, CLASSES)
    onehot = build.emit("OneHot", chosen, depth, build.constant("off_on", np.array([0, 1], np.float32)), axis=-1)
    spread = build.emit("Unsqueeze", _as_float(build, WEIGHTS, kind), build.constant("at", np.array([2], np.int64)))
    summed = build.emit("ReduceSum", build.emit("Mul", onehot, spread), one, keepdims=0)
    if kind != TensorProto.FLOAT:
        summed = build.emit("Cast", summed, to=kind)
    build.emit("Reshape", summed, shape, name=cotangent)
    with gradient.consumed() as edit:
        graph = edit.graph
        graph.initializer.extend(build.initializers.values())
        graph.node.extend(build.nodes)
        drop(graph.input, lambda info: info.name == cotangent)
        for name, elem in ((CLASSES, TensorProto.INT64), (WEIGHTS, kind)):
            graph.input.append(onnx.helper.make_tensor_value_info(name, elem, ["target/rows", "target/terms"]))
        replace_nodes(graph, ordered(graph.node, [v.name for v in graph.output]))
    return edit.model


def _as_float(build: _ClassWriter, name: str, kind: int) -> str:
    return name if kind == TensorProto.FLOAT else build.emit("Cast", name, to=TensorProto.FLOAT)


class _ClassWriter(Writer):
    """Adds nodes and constants under `target/` names."""

    def constant(self, name: str, array: np.ndarray) -> str:
        return self.initializer(f"target/{name}", array)

    def emit(self, op: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes: Any) -> str:
        """The name of the node's last output."""
        stem = f"target/{op.lower()}_{len(self.nodes) + 1}"
        names = [name or stem + "_" * i for i in range(outputs)]
        self.node(op, inputs, names, **attributes)
        return names[-1]


def feeds(codes: np.ndarray, weights: np.ndarray, dtype: np.dtype[Any]) -> Mapping[str, np.ndarray]:
    """What the two inputs take for the rows' codes (R, J) and weights (R, J)."""
    return {CLASSES: np.ascontiguousarray(codes, np.int64), WEIGHTS: np.ascontiguousarray(weights, dtype)}
