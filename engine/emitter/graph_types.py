"""What is known of the values of a graph: types, shapes, constants.

Three sources, in this order: ONNX's shape inference, run anew from the declared inputs (the value_info of a file is
somebody's claim: exporters name dimensions wrongly); what the file claims, where the inference knows nothing; and, only
when somebody asks for something that is still unknown, a trial run (`trial_types.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from ..graph.model import Model
from ..proto import external_data as external
from ..proto.contradictions import contradiction
from ..proto.guarded_inference import INFERENCE_ERRORS, infer_node
from ..proto.nodes import DOMAIN_NAMES
from ..proto.shape_inference import infer_shapes
from ..proto.symbolic_shapes import refine
from ..proto.values import Shape, elem_of, shape_of, tensor_type

_SMALL = 4096
_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})
_POOLS_SETTLED = 22


class GraphTypes:
    """Types and constants of a graph's values.

    types     value -> TypeProto, as far as known
    sources   symbolic dimension -> (graph input, axis) where its size can be read at run time
    integers  value -> array, integer values that a trial run showed to be the same for every input size
    """

    def __init__(self, model: Model, nodes: list[NodeProto], opset: int) -> None:
        self.model, self.nodes, self.opset = model, nodes, opset
        self.inputs = [_with_named_dims(v) for v in model.graph.input]
        self.stored: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        self.fed = {v.name for v in model.graph.input}
        self.types: dict[str, TypeProto] = {}
        self.sources: dict[str, tuple[str, int]] = {}
        self.integers: dict[str, np.ndarray] = {}
        self.trials = 0
        self._produced: list[NodeProto] | None = None
        self._producers: dict[str, NodeProto] = {}
        for info in self.inputs:
            for axis, dim in enumerate(shape_of(info.type) or ()):
                if isinstance(dim, str) and info.name not in self.stored:
                    self.sources.setdefault(dim, (info.name, axis))
        self.infer()

    def proto(self, outputs: Iterable[str] = ()) -> ModelProto:
        """The graph as it is now as a model of its own; `outputs` are added to its outputs."""
        proto = ModelProto(ir_version=max(self.model.proto.ir_version, 8), producer_name="onnxray")
        for domain, version in {**self.model.opsets, "": self.opset}.items():
            proto.opset_import.add(domain=domain, version=version)
        graph = GraphProto(name="probe", node=self.nodes, input=self.inputs)
        graph.initializer.extend(self.stored.values())
        graph.output.extend(self.model.graph.output)
        have = {v.name for v in graph.output}
        graph.output.extend(ValueInfoProto(name=name) for name in outputs if name not in have)
        proto.graph.CopyFrom(graph)
        return proto

    def infer(self) -> None:
        """Infer all types from the inputs and the initializers; called again after the nodes were rewritten."""
        inferred = infer_shapes(self._skeleton()).graph
        while self._settle_pools({v.name: v.type for v in (*self.inputs, *inferred.value_info)}):
            inferred = infer_shapes(self._skeleton()).graph
        claimed = (*self.model.graph.value_info, *self.model.graph.output)
        for info in (*claimed, *self.inputs, *inferred.output, *inferred.value_info):
            if elem_of(info.type) or info.type.WhichOneof("value") not in (None, "tensor_type"):
                old = self.types.get(info.name)
                if shape_of(info.type) is None and shape_of(old) is not None:
                    continue
                self.types[info.name] = info.type
        for tensor in self.stored.values():
            self.types[tensor.name] = tensor_type(tensor.data_type, tuple(tensor.dims))
        for name in self.types:
            self._drop_foreign_symbols(name)
        if any(None in (shape_of(kind) or ()) for kind in self.types.values()):
            refine(self.nodes, self.types, self.constant, self.opset)

    def _skeleton(self) -> ModelProto:
        """The graph without the bytes of large initializers and without the outputs' declared shapes."""
        proto = ModelProto(ir_version=max(self.model.proto.ir_version, 8))
        for domain, version in {**self.model.opsets, "": self.opset}.items():
            proto.opset_import.add(domain=domain, version=version)
        graph = proto.graph
        graph.name = "types"
        graph.node.extend(self.nodes)
        graph.input.extend(self.inputs)
        for tensor in self.stored.values():
            if external.is_external(tensor) or external.nbytes(tensor) > _SMALL:
                graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            else:
                graph.initializer.append(tensor)
        graph.output.extend(ValueInfoProto(name=v.name) for v in self.model.graph.output)
        return proto

    def _settle_pools(self, types: Mapping[str, TypeProto]) -> bool:
        """Write a pool with `ceil_mode` as one without where the inference gets its size wrong; whether it did so.

        Frameworks and ONNX Runtime drop a last window that starts in the padding; the standard says so from opset 22
        on, and its shape inference for older opsets counts that window.
        """
        if self.opset >= _POOLS_SETTLED:
            return False
        for node in self.nodes:
            if node.op_type not in _POOLS or node.domain not in DOMAIN_NAMES or node.input[0] not in types:
                continue
            if not any(a.name == "ceil_mode" and a.i for a in node.attribute):
                continue
            schema = onnx.defs.get_schema(node.op_type, _POOLS_SETTLED)
            try:
                found = infer_node(schema, node, {node.input[0]: types[node.input[0]]}, {}, _POOLS_SETTLED)
            except INFERENCE_ERRORS as error:
                raise contradiction(node, error) from error
            right, wrong = shape_of(found.get(node.output[0])), shape_of(types.get(node.output[0]))
            size = shape_of(types[node.input[0]])
            if right != wrong and right is not None and size is not None and _floor_mode(node, size[2:], right[2:]):
                return True
        return False

    def _drop_foreign_symbols(self, name: str) -> None:
        """A symbol that no input has was invented by whoever wrote the file: it proves nothing."""
        kind = self.types.get(name)
        dims = shape_of(kind)
        if kind is not None and dims is not None and any(isinstance(d, str) and d not in self.sources for d in dims):
            known = tuple(None if isinstance(d, str) and d not in self.sources else d for d in dims)
            self.types[name] = tensor_type(elem_of(kind), known)

    def public(self, kind: TypeProto) -> TypeProto:
        """The type without names of sizes that are computed inside: they say nothing to others."""
        copy = TypeProto()
        copy.CopyFrom(kind)
        if shape_of(kind) is not None:
            for dim in copy.tensor_type.shape.dim:
                if dim.dim_param and dim.dim_param not in self.sources:
                    dim.Clear()
        return copy

    def producer(self, name: str) -> NodeProto | None:
        """The node that makes the value."""
        if self._produced is not self.nodes:
            self._produced = self.nodes
            self._producers = {o: node for node in self.nodes for o in node.output if o}
        return self._producers.get(name)

    def constant(self, name: str) -> np.ndarray | None:
        """The values of an initializer that no feed can override, else None."""
        tensor = self.stored.get(name)
        return None if tensor is None or name in self.fed else external.read(tensor, self.model.folder)

    def constant_nbytes(self, name: str) -> int | None:
        """Size of what `constant` returns, without reading it."""
        tensor = self.stored.get(name)
        return None if tensor is None or name in self.fed else external.nbytes(tensor)


def _floor_mode(node: NodeProto, sizes: Shape, outputs: Shape) -> bool:
    """Set ceil_mode=0 with padding that gives the same windows; False, and nothing changed, if there is none."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    rank = len(sizes)
    kernel, strides = given["kernel_shape"], given.get("strides", [1] * rank)
    dilations, pads = given.get("dilations", [1] * rank), list(given.get("pads", [0] * 2 * rank))
    for axis, (size, count) in enumerate(zip(sizes, outputs, strict=True)):
        if not isinstance(size, int) or not isinstance(count, int):
            return False
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        missing = (count - 1) * strides[axis] + extent - size - pads[axis] - pads[rank + axis]
        if missing > 0:
            pads[rank + axis] += missing
            if given.get("count_include_pad", 0) or pads[rank + axis] >= kernel[axis]:
                return False
    kept = [a for a in node.attribute if a.name not in ("ceil_mode", "pads")]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("pads", pads)])
    return True


def _with_named_dims(info: ValueInfoProto) -> ValueInfoProto:
    """The input with a name for every dimension that has neither size nor name."""
    named = ValueInfoProto()
    named.CopyFrom(info)
    if named.type.HasField("tensor_type") and named.type.tensor_type.HasField("shape"):
        for axis, dim in enumerate(named.type.tensor_type.shape.dim):
            if not dim.dim_param and (not dim.HasField("dim_value") or dim.dim_value < 0):
                dim.dim_param = f"{info.name}.{axis}"
    return named
