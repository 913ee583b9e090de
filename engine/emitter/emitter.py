"""Writing graphs: `op.Mul(a, b)` emits a node and returns the name of its output.

The emitter gives names, turns numbers and arrays into shared constants, never emits the same node twice, and knows the
type and shape of every value, emitted ones included (`typed_graph.py`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto

from ..errors import ShapeError
from ..proto.edit import rename
from ..proto.values import Shape, constant_tensor, shape_of, tensor_type
from .graph_types import GraphTypes
from .node import Node
from .typed_graph import TypedGraph

Input: TypeAlias = "str | int | float | bool | Sequence[int] | np.ndarray | np.generic | None"

Pull: TypeAlias = "Callable[[Emitter, Mapping[str, str], Sequence[str]], dict[str, str]]"


class Emitter(TypedGraph):
    """Emits nodes into `nodes`; `op.<Operator>(*inputs, **attributes)` for every standard operator."""

    def __init__(self, known_types: GraphTypes, parent: Emitter | None = None) -> None:
        super().__init__(known_types, parent)
        # What is registered for a node, the caller's own rules included: the driver sets it, rules of subgraphs use it.
        self.lookup: Callable[[NodeProto], Any] | None = None if parent is None else parent.lookup
        self.pull: Pull | None = None if parent is None else parent.pull
        self.prefix = "grad"
        # What `gradients/finite.py` has found out of values.
        self.finite: dict[str, bool] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._emitted: dict[tuple[Any, ...], tuple[str, ...]] = {}

    # ---- emitting

    def __getattr__(self, op_type: str) -> Callable[..., str]:
        if op_type.startswith("_") or not op_type[0].isupper():
            raise AttributeError(op_type)

        return functools.partial(self.emit, op_type)

    def emit(self, op_type: str, *inputs: Input, domain: str = "", **attributes: Any) -> str:
        """Emit one node with one output, whose name it returns. Nodes with more: `emit_several`."""
        if "outputs" in attributes:
            count = attributes["outputs"]
            raise TypeError(
                f"outputs={count}: several outputs come from op.emit_several({op_type!r}, ..., outputs={count})"
            )
        return self.emit_several(op_type, *inputs, outputs=1, domain=domain, **attributes)[0]

    def emit_several(
        self, op_type: str, *inputs: Input, outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Emit one node with so many outputs; their names."""
        schema = onnx.defs.get_schema(op_type, self.opset, domain)
        names = self._inputs(schema, inputs)
        made = [_attribute(schema, k, v) for k, v in sorted(attributes.items()) if v is not None]
        identity = (
            domain,
            op_type,
            tuple(names),
            outputs,
            tuple(a.SerializeToString(deterministic=True) for a in made),
        )
        done = self._find(identity)
        if done is None:
            done = tuple(self.fresh(op_type) for _ in range(outputs))
            self.add(NodeProto(op_type=op_type, domain=domain, input=names, output=done, name=done[0], attribute=made))
            self._emitted[identity] = done
        return list(done)

    def add(self, node: NodeProto) -> None:
        """Append a node that is made already; infers the types of its outputs."""
        super().add(node)
        self._makers.update((o, node) for o in node.output if o)
        tensor = constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is not None:
            self._arrays[node.output[0]] = onnx.numpy_helper.to_array(tensor)
        self._infer(node)

    def fresh(self, hint: str) -> str:
        """A value name that nobody has: `<prefix>/<hint>_<k>`."""
        return self.numbered(f"{self.prefix}/{hint}")

    def reserve(self, prefix: str, name: str) -> str:
        """`<prefix><name>`, with more of `prefix` before it if the graph has such a value."""
        name = prefix + name
        while name in self.taken:
            name = prefix + name
        self.taken.add(name)
        return name

    @contextlib.contextmanager
    def collecting(self, prefix: str) -> Iterator[list[NodeProto]]:
        """Within the block, emitted nodes go into the list that it yields, named after `prefix`."""
        nodes, self.nodes = self.nodes, []
        before, self.prefix = self.prefix, prefix
        try:
            yield self.nodes
        finally:
            self.nodes, self.prefix = nodes, before

    def scope(self) -> Emitter:
        """An emitter for the body of a subgraph: sees all outer values; constants go to the outermost graph."""
        inner = Emitter(self.known_types, self)
        inner.prefix = self.prefix
        return inner

    def graph(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[str]) -> GraphProto:
        """The nodes of this (inner) emitter as a subgraph with these outputs."""
        infos = []
        for output in outputs:
            info = ValueInfoProto(name=output)
            kind = self.type(output)
            if kind is not None:
                info.type.CopyFrom(self.known_types.public(kind))
            infos.append(info)
        return GraphProto(name=name, node=self.nodes, input=inputs, output=infos)

    def rename(self, nodes: list[NodeProto], pairs: Iterable[tuple[str, str]]) -> None:
        """Give values that `nodes` make other names: (present, new). Values made elsewhere get an Identity node."""
        names: dict[str, str] = {}
        made = {o for node in nodes for o in node.output}
        for present, name in pairs:
            if present in made and present not in names:
                names[present] = name
            else:
                nodes.append(NodeProto(op_type="Identity", input=[present], output=[name], name=name))
        for node in nodes:
            rename(node, names)
        self._emitted = {i: outs for i, outs in self._emitted.items() if not any(o in names for o in outs)}
        for present, name in names.items():
            if present in self._types:
                self._types[name] = self._types.pop(present)

    def forget_types(self, names: Iterable[str]) -> None:
        """Leave these values to `known_types`, which has inferred them anew."""
        for name in names:
            if name in self.known_types.types:
                self._types.pop(name, None)

    def extra_output(self, node: Node, index: int) -> str:
        """The name of an optional output of a forward node; the node is made to compute it where it does not."""
        outputs = node.proto.output
        while len(outputs) <= index:
            outputs.append("")
        if not outputs[index]:
            outputs[index] = self.fresh(f"{node.op_type}_output{index}")
            self._infer(node.proto)
        return str(outputs[index])

    # ---- constants

    def const(self, value: Any, like: str | None = None, dtype: Any = None) -> str:
        """A shared constant: an array as it is, a number or list in the type of the value `like` or in `dtype` (else
        int64 for ints, float32 for floats)."""
        if like is not None:
            dtype = self.dtype(like)
        if self.parent is not None:
            return self.parent.const(value, dtype=dtype)
        if not isinstance(value, (np.ndarray, np.generic)) and dtype is None:
            dtype = np.float32 if np.asarray(value).dtype.kind == "f" else None
            dtype = np.int64 if dtype is None and np.asarray(value).dtype.kind in "iu" else dtype
        array = np.asarray(value, dtype=dtype)
        identity = (array.dtype, array.shape, array.tobytes())
        if identity not in self._constants:
            name = self.initializer(self.numbered("grad/constant"), array)
            self._arrays[name] = array
            elem = self.initializers[name].data_type
            self._types[name] = tensor_type(elem, array.shape)
            self._constants[identity] = name
        return self._constants[identity]

    # ---- shapes as values

    def shape_of(self, name: str, start: int = 0, end: int | None = None) -> str:
        """The shape (from axis `start` to before `end`) as an int64 vector: constant if known, else computed.

        Sizes that are those of an input's dimension are read from that input, so that `name` itself is not kept alive.
        """
        shape = shape_of(self.type(name))
        if shape is None:
            return self.Shape(name, start=start or None, end=end)
        dims = list(shape[slice(start, end)])
        if not all(isinstance(d, int) or d in self.known_types.sources for d in dims):
            whole = start == 0 and (end is None or end >= len(shape))
            return self.Shape(name) if whole else self.Shape(name, start=start, end=end)
        parts: list[str] = []
        run: list[int] = []
        for dim in [*dims, ""]:
            if isinstance(dim, int):
                run.append(dim)
                continue
            if run:
                parts.append(self.const(np.array(run, np.int64)))
                run = []
            if dim:
                source, axis = self.known_types.sources[dim]
                parts.append(self.Shape(source, start=axis, end=axis + 1))
        if not parts:
            return self.const(np.array([], np.int64))
        return parts[0] if len(parts) == 1 else self.Concat(*parts, axis=0)

    def size_of(self, name: str, axis: int) -> str:
        """The size of one axis as an int64 vector of one element."""
        axis %= self.rank(name)
        return self.shape_of(name, axis, axis + 1)

    # ---- common pieces

    def full_like(self, name: str, value: float) -> str:
        """`value` in the shape and type of `name`, which is not kept alive if its shape is known otherwise."""
        return self.ConstantOfShape(self.shape_of(name), value=self.like_scalar(name, value))

    def like_scalar(self, name: str, value: float) -> TensorProto:
        """A tensor of one element in the type of `name`: the attribute that ConstantOfShape wants."""
        return onnx.numpy_helper.from_array(np.array([value], self.dtype(name)))

    def zeros_like(self, name: str) -> str:
        return self.full_like(name, 0)

    def expand_like(self, value: str, like: str) -> str:
        """`value` broadcast to the shape of `like`."""
        return value if self.same_shape(value, like) else self.Expand(value, self.shape_of(like))

    def before_expansion(self, parts: Sequence[str]) -> list[str]:
        """The terms of a sum, full ones first; those that were expanded as they were before: the sum does it, too."""
        full: list[str] = []
        short: list[str] = []
        for part in parts:
            maker = self._makers.get(part)
            if maker is not None and maker.op_type == "Expand":
                short.append(maker.input[0])
            else:
                full.append(part)
        return full + short if full else list(parts)

    def reshape_like(self, value: str, like: str) -> str:
        if self.same_shape(value, like):
            return value
        return self.Reshape(value, self.shape_of(like), allowzero=1)

    def Pad(
        self,
        value: str,
        pads: str | Sequence[int] | np.ndarray,
        fill: Input = None,
        axes: str | Sequence[int] | np.ndarray | None = None,
        mode: str | None = None,
    ) -> str:
        """Emit a Pad with an amount for every axis of `value`, whatever `axes` the amounts are given for.

        ONNX Runtime's transpose optimiser takes the amounts for those of all axes even where the node names some.
        """
        if axes is None or self.rank(value) == 1:
            return self.emit("Pad", value, pads, fill, mode=mode)
        rank = self.rank(value)
        known = self.constant_value(axes) if isinstance(axes, str) else np.asarray(axes, np.int64)
        if known is None:
            return self.emit("Pad", value, self.pads_of_all(pads, str(axes), rank), fill, mode=mode)
        places = [int(axis) % rank for axis in known.reshape(-1)]
        amounts = self.constant_value(pads) if isinstance(pads, str) else np.asarray(pads, np.int64)
        if amounts is not None:
            whole = np.zeros((2, rank), np.int64)
            whole[:, places] = amounts.reshape(2, -1)
            return self.emit("Pad", value, whole.ravel(), fill, mode=mode)
        # The entry that follows the given ones is 0, for axes that are not named.
        count = len(places)
        order = [places.index(axis) if axis in places else -1 for axis in range(rank)]
        chosen = [-1 if i < 0 else i + side * count for side in (0, 1) for i in order]
        ended = self.Concat(self._int64(str(pads)), [0], axis=0)
        return self.emit("Pad", value, self.Gather(ended, [2 * count if i < 0 else i for i in chosen]), fill, mode=mode)

    def pads_of_all(self, pads: str | Sequence[int] | np.ndarray, axes: str, rank: int) -> str:
        """The amounts of all axes, where those that `pads` are for are known at run time only."""
        places = self._int64(axes)
        places = self.Where(self.Less(places, 0), self.Add(places, rank), places)
        both = self.Concat(places, self.Add(places, rank), axis=0)
        given = self._int64(pads) if isinstance(pads, str) else self.const(np.asarray(pads, np.int64))
        return self.ScatterElements(np.zeros(2 * rank, np.int64), both, given)

    def _int64(self, value: str) -> str:
        return value if self.elem_type(value) == TensorProto.INT64 else self.Cast(value, to=TensorProto.INT64)

    def cast(self, value: str, like: str) -> str:
        """`value` in the element type of `like`."""
        elem = self.elem_type(like)
        return value if self.elem_type(value) == elem else self.Cast(value, to=elem)

    def reduce_to(self, value: str, like: str, others: Sequence[str] | None = None) -> str:
        """Undo a broadcast: sum `value` over the axes along which `like` was repeated, to the shape of `like`.

        `others` are the values that `like` was broadcast against, if they are known: along an axis where all of them
        have size 1 or that none of them has, nothing was repeated.
        """
        if self.same_shape(value, like):
            return value
        target, source = self.shape(like), self.shape(value)
        extra = len(source) - len(target)
        if extra < 0:
            raise ShapeError(
                f"the shapes of the model contradict each other: {like!r} has {len(target)} axes, what was computed "
                f"from it by broadcasting {len(source)}"
            )
        axes, unsure = self._broadcast_axes(source[extra:], target, others)
        if unsure:
            self.learn()
            target, source = self.shape(like), self.shape(value)
            axes, unsure = self._broadcast_axes(source[extra:], target, others)
        if extra > 0:
            value = self.ReduceSum(value, list(range(extra)), keepdims=0)
        if unsure:
            ones = self.Equal(self.shape_of(like), self.const(np.array(1, np.int64)))
            axes_value = self.Reshape(self.NonZero(ones), [-1])
            value = self.ReduceSum(value, axes_value, keepdims=1, noop_with_empty_axes=1)
        elif axes:
            value = self.ReduceSum(value, axes, keepdims=1)
        self.take_shape(value, like)
        return value

    def _broadcast_axes(self, source: Shape, target: Shape, others: Sequence[str] | None) -> tuple[list[int], bool]:
        """Axes to sum over, and whether there may be more that only show at run time."""
        shapes = [(None,) * len(target)] if others is None else [shape_of(self.type(other)) for other in others]
        axes, unsure = [], False
        for axis, (s, t) in enumerate(zip(source, target, strict=True), -len(target)):
            repeated = any(shape is None or (len(shape) >= -axis and shape[axis] != 1) for shape in shapes)
            if s == 1 or not repeated:
                continue
            if t == 1:
                axes.append(axis + len(target))
            elif not isinstance(t, int) and (t is None or s != t):
                unsure = True
        return axes, unsure

    # ---- inside

    def _find(self, identity: tuple[Any, ...]) -> tuple[str, ...] | None:
        found = self._emitted.get(identity)
        return self.parent._find(identity) if found is None and self.parent is not None else found

    def _inputs(self, schema: onnx.defs.OpSchema, inputs: Sequence[Input]) -> list[str]:
        names: list[str] = []
        for slot, value in enumerate(inputs):
            if value is None:
                names.append("")
            elif isinstance(value, str):
                names.append(value)
            elif isinstance(value, (np.ndarray, np.generic)):
                names.append(self.const(value))
            elif isinstance(value, (list, tuple)):
                names.append(self.const(np.array(value, np.int64)))
            else:
                names.append(self._number(schema, slot, value, inputs))  # type: ignore[arg-type]
        while names and not names[-1]:
            names.pop()
        return names

    def _number(self, schema: onnx.defs.OpSchema, slot: int, value: float, inputs: Sequence[Input]) -> str:
        """A bare number: of the type of a named input in a slot of the same type variable, else int64 if it may be."""
        formals = schema.inputs
        wanted = formals[min(slot, len(formals) - 1)].type_str
        for other, name in enumerate(inputs):
            if isinstance(name, str) and formals[min(other, len(formals) - 1)].type_str == wanted:
                return self.const(value, like=name)
        first = next((name for name in inputs if isinstance(name, str)), None)
        return self.const(value, like=first if isinstance(value, float) else None)


def _attribute(schema: onnx.defs.OpSchema, name: str, value: Any) -> AttributeProto:
    """The attribute in the type that the schema declares: `alpha=1` is a float where a float is due."""
    formal = schema.attributes.get(name)
    if formal is None:
        raise TypeError(f"operator {schema.name} has no attribute {name!r}")
    kind = formal.type.value
    if name in ("to", "dtype") and not isinstance(value, int):
        value = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value))
    if kind == AttributeProto.FLOAT:
        value = float(value)
    elif kind == AttributeProto.INT:
        value = int(value)
    elif kind == AttributeProto.INTS:
        value = [int(v) for v in value]
    elif kind == AttributeProto.FLOATS:
        value = [float(v) for v in value]
    return onnx.helper.make_attribute(name, value, attr_type=kind)
