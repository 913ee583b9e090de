"""Rewriting single nodes for a newer opset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from ..errors import OpsetError
from ..proto.nodes import opset_of, subgraphs
from ..proto.values import Shape, elem_of, shape_of
from ..proto.writer import Writer


class Rewriter(Writer):
    """What a rewrite may ask and do: types of values, constants, new nodes.

    `nodes` receives the replacement; a node that stays is appended to it as well.
    """

    def __init__(self, proto: ModelProto, target: int) -> None:
        super().__init__()
        self.version, self.target = opset_of(proto), target
        self._infos: dict[str, ValueInfoProto] = {}
        self._tensors: dict[str, TensorProto] = {}
        self._collect(proto.graph)

    def _collect(self, graph: GraphProto) -> None:
        for info in (*graph.value_info, *graph.input, *graph.output):
            self._infos[info.name] = info
        for tensor in graph.initializer:
            self._tensors[tensor.name] = tensor
        self.taken.update(self._infos, self._tensors)
        for node in graph.node:
            self.taken.update(node.output)
            for inner in subgraphs(node):
                self._collect(inner)

    def elem_type(self, name: str) -> int:
        """The TensorProto data type of a value, UNDEFINED where unknown."""
        if name in self._tensors:
            return int(self._tensors[name].data_type)
        return elem_of(self._infos[name].type) if name in self._infos else int(TensorProto.UNDEFINED)

    def shape(self, name: str) -> Shape | None:
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        return shape_of(self._infos[name].type) if name in self._infos else None

    def fresh(self, hint: str) -> str:
        return self.numbered(f"{hint}/upgrade")

    def const(self, hint: str, value: Any, elem_type: int = TensorProto.INT64) -> str:
        """A new initializer of the main graph."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
        name = self.initializer(self.fresh(hint), np.asarray(value, dtype))
        self._tensors[name] = self.initializers[name]
        return name

    def emit(self, op_type: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Append a node; the name of its output, a new one unless given."""
        return self.node(op_type, inputs, [output or self.fresh(op_type)], **attributes)

    def fail(self, node: NodeProto, reason: str) -> OpsetError:
        """The error to raise where a node cannot be rewritten."""
        label = node.name or next((o for o in node.output if o), "?")
        return OpsetError(
            f"operator {node.op_type!r} (node {label!r}) cannot be brought from opset {self.version} to {self.target}: "
            f"{reason}; export the model again with opset {self.target} or newer"
        )


def attributes(node: NodeProto, names: Iterable[str]) -> dict[str, Any]:
    """Take these attributes off the node; those it has, as Python values."""
    names = set(names)
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.name in names}
    kept = [a for a in node.attribute if a.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return found
