"""Sequences of tensors whose members are known, written as those members; done once, at load.

PyTorch's exporters write `split`, `chunk`, `unbind` and `cat` of lists so: SplitToSequence, SequenceConstruct or
SequenceInsert, then SequenceAt with a constant place, ConcatFromSequence or SequenceLength. Tensors have gradients,
places and sizes that can be followed; sequences have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto

from ..proto.attributes import attributes
from ..proto.edit import replace_nodes
from ..proto.nodes import DOMAIN_NAMES, all_nodes, opset_of, reads
from ..proto.values import Shape, constant_tensor, from_info
from ..proto.writer import Writer

_MAKERS = frozenset(("SplitToSequence", "SequenceConstruct", "SequenceEmpty", "SequenceInsert"))
# Sequences are younger than Slice's form with inputs.
_OLDEST = 11
_AXES_ARE_INPUTS = 13
_MOST_MEMBERS = 1024


def settle_sequences(proto: ModelProto) -> bool:
    """Rewrite `proto` in place; whether anything was rewritten."""
    if opset_of(proto) < _OLDEST or not any(node.op_type in _MAKERS for node in proto.graph.node):
        return False
    return _Members(proto.graph, opset_of(proto)).rewrite()


@dataclass
class _Parts:
    """The members of a sequence, each made when it is first asked for; count: None where a run decides."""

    make: Callable[[int], str]
    count: int | None
    made: dict[int, str] = field(default_factory=dict)

    def member(self, place: int) -> str | None:
        if place < 0 and self.count is not None:
            place += self.count
        if place < 0 or (self.count is not None and place >= self.count):
            return None
        if place not in self.made:
            self.made[place] = self.make(place)
        return self.made[place]

    def all(self) -> list[str] | None:
        """Every member, None where their number is not known, or none or too many."""
        if self.count is None or not 0 < self.count <= _MOST_MEMBERS:
            return None
        return [name for name in map(self.member, range(self.count)) if name is not None]


class _Members(Writer):
    """One walk over a graph: its sequences by name, and the nodes that read them."""

    def __init__(self, graph: GraphProto, opset: int) -> None:
        names = (o for node in all_nodes(graph) for o in node.output)
        super().__init__({*names, *(v.name for v in graph.input), *(t.name for t in graph.initializer)})
        self.graph, self.opset = graph, opset
        fed = {v.name for v in graph.input}
        self.stored = {t.name: t for t in graph.initializer if t.name not in fed}
        infos = (*graph.value_info, *graph.output, *graph.input)
        self.shapes: Mapping[str, Shape | None] = {v.name: from_info(v).shape for v in infos}
        self.sequences: dict[str, _Parts] = {}

    def rewrite(self) -> bool:
        rewritten = False
        for node in self.graph.node:
            tensor = constant_tensor(node) if node.op_type == "Constant" else None
            if tensor is not None:
                self.stored[node.output[0]] = tensor
            standard = node.domain in DOMAIN_NAMES
            parts = self._parts(node) if standard and node.op_type in _MAKERS else None
            if parts is not None:
                self.sequences[node.output[0]] = parts
            if parts is None and standard and node.input and node.input[0] in self.sequences and self._read(node):
                rewritten = True
            else:
                self.add(node)
        if rewritten:
            replace_nodes(self.graph, _without_unread(self.nodes, {v.name for v in self.graph.output}))
            self.graph.initializer.extend(self.initializers.values())
        return rewritten

    def _numbers(self, name: str) -> list[int] | None:
        tensor = self.stored.get(name)
        array = None if tensor is None else onnx.numpy_helper.to_array(tensor)
        return None if array is None or array.dtype.kind not in "iu" else [int(n) for n in array.reshape(-1)]

    # ---- makers

    def _parts(self, node: NodeProto) -> _Parts | None:
        if node.op_type == "SplitToSequence":
            return self._split(node)
        names: list[str] | None = list(node.input) if node.op_type == "SequenceConstruct" else []
        if node.op_type == "SequenceInsert":
            names = self._inserted(node)
        return None if names is None else _Parts(names.__getitem__, len(names))

    def _inserted(self, node: NodeProto) -> list[str] | None:
        before = self.sequences.get(node.input[0])
        names = None if before is None else [] if before.count == 0 else before.all()
        if names is None:
            return None
        places = self._numbers(node.input[2]) if len(node.input) > 2 and node.input[2] else [len(names)]
        if places is None or len(places) != 1 or not -len(names) <= places[0] <= len(names):
            return None
        return [*names[: places[0]], node.input[1], *names[places[0] :]]

    def _split(self, node: NodeProto) -> _Parts | None:
        given, value = attributes(node), node.input[0]
        shape, axis = self.shapes.get(value) or (), given.get("axis", 0)
        found = shape[axis] if -len(shape) <= axis < len(shape) else None
        size = found if isinstance(found, int) else None
        if len(node.input) < 2 or not node.input[1]:
            if given.get("keepdims", 1):
                return _Parts(lambda i: self._slice(value, axis, i, i + 1), size)
            return _Parts(lambda i: self._made("Gather", value, self._number(value, np.array(i)), axis=axis), size)
        lengths = self._numbers(node.input[1])
        if not lengths or any(length <= 0 for length in lengths) or len(lengths) > _MOST_MEMBERS:
            return None
        if self.stored[node.input[1]].dims:
            ends = np.cumsum(lengths).tolist()
            return _Parts(lambda i: self._slice(value, axis, ends[i] - lengths[i], ends[i]), len(ends))
        step = lengths[0]
        count = None if size is None else -(-size // step)
        return _Parts(lambda i: self._slice(value, axis, i * step, (i + 1) * step), count)

    # ---- readers

    def _read(self, node: NodeProto) -> bool:
        """Add what the node becomes; False if it stays as it is."""
        parts = self.sequences[node.input[0]]
        if node.op_type == "SequenceAt":
            places = self._numbers(node.input[1])
            member = parts.member(places[0]) if places and len(places) == 1 else None
            if member is not None:
                self.add(NodeProto(op_type="Identity", name=node.name, input=[member], output=node.output))
            return member is not None
        if node.op_type == "SequenceLength" and parts.count is not None:
            value = onnx.numpy_helper.from_array(np.array(parts.count, np.int64))
            self.add(onnx.helper.make_node("Constant", [], list(node.output), name=node.name, value=value))
            return True
        members = parts.all() if node.op_type == "ConcatFromSequence" else None
        if members is None:
            return False
        given = attributes(node)
        if given.get("new_axis", 0):
            members = [self._unsqueezed(name, given["axis"]) for name in members]
        self.add(onnx.helper.make_node("Concat", members, list(node.output), name=node.name, axis=given["axis"]))
        return True

    # ---- nodes

    def _unsqueezed(self, value: str, axis: int) -> str:
        if self.opset >= _AXES_ARE_INPUTS:
            return self._made("Unsqueeze", value, self._vector(value, axis))
        return self._made("Unsqueeze", value, axes=[axis])

    def _slice(self, value: str, axis: int, start: int, end: int) -> str:
        return self._made("Slice", value, *(self._vector(value, number) for number in (start, end, axis)))

    def _made(self, op: str, value: str, *inputs: str, **attributes: Any) -> str:
        return self.node(op, [value, *inputs], [self.numbered(f"{value}/member")], **attributes)

    def _vector(self, value: str, number: int) -> str:
        return self._number(value, np.array([number]))

    def _number(self, value: str, array: NDArray[Any]) -> str:
        return self.initializer(self.numbered(f"{value}/place"), array.astype(np.int64))


def _without_unread(nodes: Sequence[NodeProto], needed: set[str]) -> list[NodeProto]:
    """The nodes without makers of sequences that nothing reads any more. `needed` grows."""
    kept = []
    for node in reversed(nodes):
        if node.op_type not in _MAKERS or not needed.isdisjoint(node.output):
            needed.update(reads(node))
            kept.append(node)
    return kept[::-1]
