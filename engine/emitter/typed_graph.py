"""What is known of the values of a graph while nodes are added to it: makers, constants, types, shapes.

Each node that is added goes through ONNX's own inference; what that leaves open, a trial run tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto

from ..errors import ShapeError
from ..proto.guarded_inference import INFERENCE_ERRORS, infer_node
from ..proto.nodes import reads
from ..proto.operators import CONVOLUTIONS
from ..proto.values import FLOATS, Shape, elem_of, shape_of, tensor_type
from ..proto.writer import Writer
from .graph_types import GraphTypes
from .trial_types import learn

if TYPE_CHECKING:
    from typing_extensions import Self

# Constants of at most so many bytes may be shapes, axes, ...: inference looks at their values.
_SMALL = 4096
# Axes of the inputs X, W, R, B, sequence_lens, initial_h, initial_c, P.
_RECURRENT = (3, 3, 3, 2, 1, 3, 3, 2)
_RANKS = {"LSTM": _RECURRENT, "GRU": _RECURRENT, "RNN": _RECURRENT}


class TypedGraph(Writer):
    """The values of a graph that grows by `nodes`, on top of what is known of the model it starts from.

    `parent` is the graph around the graph of an If, Loop or Scan, whose values can be read here as well.
    """

    def __init__(self, known_types: GraphTypes, parent: Self | None = None) -> None:
        super().__init__(() if parent is not None else _all_names(known_types), parent)
        self.known_types, self.parent = known_types, parent
        self.opset = known_types.opset
        self._types: dict[str, TypeProto] = {}
        self._shaped: dict[str, str] = {}
        self._makers: dict[str, NodeProto] = {}
        self._trials = known_types.trials
        self._arrays: dict[str, np.ndarray] = {}

    # ---- makers and constants

    def producer(self, name: str) -> NodeProto | None:
        """The node of this graph or of an outer one that makes the value, None for inputs and constants."""
        maker = self._makers.get(name)
        if maker is not None and name in maker.output:
            return maker
        return self.parent.producer(name) if self.parent is not None else self.known_types.producer(name)

    def constant_value(self, name: str, learn: bool = False) -> np.ndarray | None:
        """The array behind a constant of the model or of the emitter, None for values that are computed.

        `learn=True` also finds integers that are computed from sizes only and are the same for every input size.
        """
        if name in self._arrays:
            return self._arrays[name]
        if self.parent is not None:
            return self.parent.constant_value(name, learn)
        found = self.known_types.constant(name)
        if found is None and learn:
            self.learn()
            found = self.known_types.integers.get(name)
        return found

    def constant_nbytes(self, name: str) -> int | None:
        """The size of a constant in bytes without reading it, None for values that are computed."""
        if name in self._arrays:
            return self._arrays[name].nbytes
        return self.parent.constant_nbytes(name) if self.parent is not None else self.known_types.constant_nbytes(name)

    # ---- types and shapes

    def type(self, name: str) -> TypeProto | None:
        """What is known of the value's type, without a trial run."""
        found = self._types.get(name)
        if found is not None:
            return found
        return self.parent.type(name) if self.parent is not None else self.known_types.types.get(name)

    def set_type(self, name: str, kind: TypeProto) -> None:
        self._types[name] = kind

    def take_shape(self, name: str, like: str) -> None:
        """Record that `name` has the shape of `like`, where more is known of that one."""
        kind, shape = self.type(name), shape_of(self.type(like))
        self._shaped[name] = like
        if shape is not None and shape_of(kind) != shape:
            self._types[name] = tensor_type(elem_of(kind) or self.elem_type(like), shape)

    def of_named_sizes(self) -> list[str]:
        """The values that took a shape with a named size in it (`take_shape`)."""
        shapes = {name: shape_of(self.type(name)) or () for name in self._shaped}
        return [name for name, shape in shapes.items() if any(d in self.known_types.sources for d in shape)]

    def learn(self) -> None:
        """Learn by a trial run what is open, once per graph, and infer the types of what was emitted anew."""
        learn(self.known_types)
        scope: TypedGraph | None = self
        while scope is not None:
            if scope._trials < self.known_types.trials:
                scope._trials = self.known_types.trials
                for name, like in scope._shaped.items():
                    scope.take_shape(name, like)
                for node in scope.nodes:
                    scope._infer(node)
                    for name in node.output:
                        if name in scope._shaped:
                            scope.take_shape(name, scope._shaped[name])
            scope = scope.parent

    def _settled(self, name: str, needs_shape: bool) -> TypeProto:
        kind = self.type(name)
        if kind is None or (needs_shape and shape_of(kind) is None):
            self.learn()
            kind = self.type(name)
        if kind is None or (needs_shape and shape_of(kind) is None):
            what = "rank" if needs_shape else "type"
            raise ShapeError(f"the {what} of value {name!r} cannot be known: declare the shapes of the model's inputs")
        return kind

    def elem_type(self, name: str) -> int:
        """The value's onnx.TensorProto data type. Raises ShapeError where it cannot be known."""
        return elem_of(self._settled(name, False))

    def dtype(self, name: str) -> np.dtype[Any]:
        dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(self.elem_type(name))
        return dtype

    def is_float(self, name: str) -> bool:
        """Whether the value is a float tensor; values of unknown type are taken for floats."""
        elem = elem_of(self.type(name))
        return elem in FLOATS or elem == TensorProto.UNDEFINED

    def shape(self, name: str) -> Shape:
        """int where the size is known, str where it has a name (equal names are equal sizes), None else.

        Raises ShapeError where not even the rank can be known.
        """
        shape = shape_of(self._settled(name, True))
        assert shape is not None
        return shape

    def rank(self, name: str) -> int:
        return len(self.shape(name))

    def static_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape, if every size is known."""
        shape = shape_of(self.type(name))
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        return tuple(d for d in shape if isinstance(d, int))

    def same_shape(self, a: str, b: str) -> bool:
        """Whether both surely have the same shape."""
        first, second = shape_of(self.type(a)), shape_of(self.type(b))
        return first is not None and None not in first and first == second

    def _infer(self, node: NodeProto) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not onnx.defs.has(node.op_type, self.opset, domain):
            return
        self._take_standard_ranks(node)
        schema = onnx.defs.get_schema(node.op_type, self.opset, domain)
        types = {name: self.type(name) or TypeProto() for name in (*reads(node), *node.input) if name}
        data = {name: tensor for name in node.input if (tensor := self._small_tensor(name)) is not None}
        try:
            found = infer_node(schema, node, types, data, self.opset)
        except INFERENCE_ERRORS as error:
            known = {name: shape_of(self.type(name)) for name in node.input if name}
            reason = str(error).split("\n")[0]
            raise ShapeError(
                f"emitted node {node.name!r} ({node.op_type}) does not fit its inputs {known}: {reason}"
            ) from error
        for name, kind in found.items():
            loses = shape_of(kind) is None and shape_of(self._types.get(name)) is not None
            if name and kind.WhichOneof("value") is not None and not loses:
                self._types[name] = kind

    def _take_standard_ranks(self, node: NodeProto) -> None:
        """Record the number of axes that the standard gives an input of which nothing else tells it.

        As of the result of an If whose branches differ: no trial run looks into the graphs of an If.
        """
        ranks: tuple[int, ...] = _RANKS.get(node.op_type, ())
        if node.op_type in CONVOLUTIONS and len(node.input) > 1:
            weights = shape_of(self.type(node.input[1]))
            ranks = () if weights is None else (len(weights),)
        for name, rank in zip(node.input, ranks, strict=False):
            kind = self.type(name) if name else None
            if kind is not None and elem_of(kind) and shape_of(kind) is None:
                self._types[name] = tensor_type(elem_of(kind), (None,) * rank)

    def _small_tensor(self, name: str) -> TensorProto | None:
        """The constant as a proto, if it is so small that it may be a shape, axes, ..."""
        nbytes = self.constant_nbytes(name)
        if nbytes is None or nbytes > _SMALL:
            return None
        return onnx.numpy_helper.from_array(np.asarray(self.constant_value(name)), name)


def _all_names(known_types: GraphTypes) -> set[str]:
    names = set(known_types.stored) | {v.name for v in known_types.inputs}

    def visit(nodes: Iterable[NodeProto]) -> None:
        for node in nodes:
            names.update(node.output)
            names.add(node.name)
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    names.update(v.name for v in graph.input)
                    names.update(t.name for t in graph.initializer)
                    visit(graph.node)

    visit(known_types.nodes)
    return names
