"""Models older than opset 7, the oldest that ONNX Runtime runs, brought there: operator by operator, by what changed.

onnx.version_converter refuses several of these (broadcasting along a given axis, `Cast` to a named type, `Pad` with
`paddings`), hence this table. An operator whose definition did not change from the model's opset to 7 stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from ..errors import OpsetError
from ..proto.contradictions import CONTRADICTIONS, contradiction
from ..proto.edit import replace_nodes
from ..proto.guarded_inference import INFERENCE_ERRORS, infer_graph
from ..proto.nodes import DOMAIN_NAMES, RUNTIME_OPSET, label, opset_of, subgraphs


def upgrade_ancient(proto: ModelProto) -> ModelProto:
    """`proto`, changed in place: of opset 7 where it was older. Raises OpsetError, naming the operator and why."""
    version = opset_of(proto)
    if version >= RUNTIME_OPSET:
        return proto
    _Upgrade(proto, version).run()
    for opset in proto.opset_import:
        if opset.domain in DOMAIN_NAMES:
            opset.version = RUNTIME_OPSET
    return proto


class _Refused(Exception):
    """Why a node cannot be brought to opset 7."""


class _Upgrade:
    """One model on its way: its graph, and what is known of constants and of numbers of axes."""

    def __init__(self, proto: ModelProto, version: int) -> None:
        self.proto, self.version, self.graph = proto, version, proto.graph
        self.constants = {t.name: t for t in proto.graph.initializer}
        for node in proto.graph.node:
            if node.op_type == "Constant":
                self.constants.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        self.ranks: dict[str, int] = {}
        self.added: list[TensorProto] = []

    def run(self) -> None:
        self._graph(self.graph)
        self._infer_ranks()
        aligned: list[NodeProto] = []
        for node in self.graph.node:
            aligned.extend(self._step(node, _ALIGNED.get(node.op_type)))
        replace_nodes(self.graph, aligned)
        self.graph.initializer.extend(self.added)

    def _graph(self, graph: GraphProto) -> None:
        """All that needs no numbers of axes; inside subgraphs, where they are not known, that is all there can be."""
        changed: list[NodeProto] = []
        for node in graph.node:
            for inner in subgraphs(node):
                self._graph(inner)
            if graph is not self.graph and node.op_type in _ALIGNED and _needs_alignment(node):
                self._refuse(node, "the number of axes of its input is not known")
            changed.extend(self._step(node, _RULES.get(node.op_type)))
        replace_nodes(graph, changed)

    def _step(self, node: NodeProto, rule: _Rule | None) -> Iterable[NodeProto]:
        if rule is None or node.domain not in DOMAIN_NAMES:
            return [node]
        try:
            return rule(self, node)
        except _Refused as refused:
            return self._refuse(node, str(refused))
        except CONTRADICTIONS as error:
            raise contradiction(node, error) from error

    def _refuse(self, node: NodeProto, reason: str) -> list[NodeProto]:
        raise OpsetError(
            f"the model uses opset {self.version}, older than {RUNTIME_OPSET}, the oldest that ONNX Runtime runs, and "
            f"operator {node.op_type!r} (node {label(node)}) cannot be upgraded: {reason}; export it with a newer opset"
        )

    def _infer_ranks(self) -> None:
        """Numbers of axes, from a copy of the model in which whatever is still to be aligned passes on its first input:
        the result of the old broadcasting has the shape of that.
        """
        copy = ModelProto()
        copy.CopyFrom(self.proto)
        for opset in copy.opset_import:
            if opset.domain in DOMAIN_NAMES:
                opset.version = RUNTIME_OPSET
        passing = [self._passing(node) for node in copy.graph.node]
        replace_nodes(copy.graph, passing)
        copy.graph.initializer.extend(self.added)
        graph = copy.graph
        try:
            graph = infer_graph(copy)
        except INFERENCE_ERRORS:
            return  # then only the declared ones are known
        finally:
            infos: list[ValueInfoProto] = [*graph.value_info, *graph.input, *graph.output]
            for info in infos:
                if info.type.tensor_type.HasField("shape"):
                    self.ranks[info.name] = len(info.type.tensor_type.shape.dim)
            self.ranks.update((name, len(tensor.dims)) for name, tensor in self.constants.items())

    def _passing(self, node: NodeProto) -> NodeProto:
        if node.op_type not in _ALIGNED or node.domain not in DOMAIN_NAMES or len(node.input) < 1:
            return node
        if node.op_type in ("Equal", "Greater", "Less"):
            return onnx.helper.make_node("Cast", [node.input[0]], list(node.output), to=TensorProto.BOOL)
        return onnx.helper.make_node("Identity", [node.input[0]], list(node.output))

    def rank(self, name: str) -> int:
        if name not in self.ranks:
            raise _Refused(f"the number of axes of {name!r} is not known")
        return self.ranks[name]

    def numbers(self, name: str) -> list[int]:
        if name not in self.constants:
            raise _Refused(f"its argument {name!r} is computed")
        return [int(v) for v in onnx.numpy_helper.to_array(self.constants[name]).reshape(-1)]

    def store(self, near: str, array: np.ndarray) -> str:
        name = f"{near}/opset7"
        tensor = onnx.numpy_helper.from_array(array, name)
        self.added.append(tensor)
        self.constants[name] = tensor
        return name


_Rule = Callable[[_Upgrade, NodeProto], "Iterable[NodeProto]"]


def _value(node: NodeProto, name: str, default: object = None) -> object:
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def _without(node: NodeProto, *names: str) -> NodeProto:
    kept = [a for a in node.attribute if a.name not in names]
    changed = NodeProto()
    changed.CopyFrom(node)
    del changed.attribute[:]
    changed.attribute.extend(kept)
    return changed


def _drop(*names: str) -> _Rule:
    return lambda _, node: [_without(node, *names)]


def _cast(_: _Upgrade, node: NodeProto) -> list[NodeProto]:
    to = next((a for a in node.attribute if a.name == "to"), None)
    if to is None or to.type != AttributeProto.STRING:
        return [node]
    name = to.s.decode("utf-8", "replace").upper()
    types = dict(TensorProto.DataType.items())
    if name not in types:
        raise _Refused(f"there is no element type {name!r}")
    changed = _without(node, "to")
    changed.attribute.append(onnx.helper.make_attribute("to", types[name]))
    return [changed]


def _concat(_: _Upgrade, node: NodeProto) -> list[NodeProto]:
    if _value(node, "axis") is not None:
        return [node]
    changed = _without(node)
    changed.attribute.append(onnx.helper.make_attribute("axis", 1))
    return [changed]


def _selu(upgrade: _Upgrade, node: NodeProto) -> list[NodeProto]:
    changed = _without(node, "consumed_inputs")
    if upgrade.version < 6:  # the constants had fewer digits
        for name, default in (("alpha", 1.6732), ("gamma", 1.0507)):
            if _value(node, name) is None:
                changed.attribute.append(onnx.helper.make_attribute(name, default))
    return [changed]


def _reshape(upgrade: _Upgrade, node: NodeProto) -> list[NodeProto]:
    shape = _value(node, "shape")
    if upgrade.version >= 5 or len(node.input) > 1:
        return [node]
    if not isinstance(shape, list):
        raise _Refused("it has no shape")
    changed = _without(node, "shape", "consumed_inputs")
    changed.input.append(upgrade.store(node.output[0], np.asarray(shape, np.int64)))
    return [changed]


def _pad(_: _Upgrade, node: NodeProto) -> list[NodeProto]:
    changed = NodeProto()
    changed.CopyFrom(node)
    for attribute in changed.attribute:
        if attribute.name == "paddings":
            attribute.name = "pads"
    return [changed]


def _split(upgrade: _Upgrade, node: NodeProto) -> list[NodeProto]:
    if len(node.input) < 2:
        return [node]
    changed = _without(node, "split")
    changed.attribute.append(onnx.helper.make_attribute("split", upgrade.numbers(node.input[1])))
    del changed.input[1:]
    return [changed]


def _upsample(_: _Upgrade, node: NodeProto) -> list[NodeProto]:
    height, width = _value(node, "height_scale"), _value(node, "width_scale")
    if not isinstance(height, float) or not isinstance(width, float):
        return [node]
    changed = _without(node, "height_scale", "width_scale")
    changed.attribute.append(onnx.helper.make_attribute("scales", [1.0, 1.0, height, width]))
    return [changed]


def _norm(_: _Upgrade, node: NodeProto) -> list[NodeProto]:
    p = _value(node, "p", 2)
    if not isinstance(p, (int, float)) or p != int(p):
        raise _Refused(f"it takes the norm of order {p}, and opset 7 only has whole ones")
    changed = _without(node, "p")
    changed.attribute.append(onnx.helper.make_attribute("p", int(p)))
    return [changed]


_CONSUMED = """Abs Ceil Clip Elu Exp Floor HardSigmoid InstanceNormalization LeakyRelu Log Max Mean Min Neg Reciprocal
Relu Sigmoid Sqrt Sum Tanh""".split()
_BROADCAST = "Add And Div Equal Greater Less Mul Or Pow Sub Xor".split()

_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_CONSUMED, _drop("consumed_inputs")),
    "BatchNormalization": _drop("consumed_inputs", "is_test"),
    "Dropout": _drop("consumed_inputs", "is_test"),
    "Gemm": _drop("broadcast"),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _drop("output_sequence")),
    "Cast": _cast,
    "Concat": _concat,
    "Selu": _selu,
    "Reshape": _reshape,
    "Pad": _pad,
    "Split": _split,
    "Upsample": _upsample,
    **dict.fromkeys(("LpPool", "GlobalLpPool"), _norm),
}


def _needs_alignment(node: NodeProto) -> bool:
    if node.op_type == "Tile":
        return len(node.input) > 2
    return node.op_type == "PRelu" or _value(node, "axis") is not None


def _broadcast(upgrade: _Upgrade, node: NodeProto) -> list[NodeProto]:
    """The second operand begins at `axis` of the first; without one, both end together, as they do in opset 7."""
    axis = _value(node, "axis")
    changed = _without(node, "broadcast", "axis", "consumed_inputs")
    if not _value(node, "broadcast", 0) or not isinstance(axis, int):
        return [changed]
    first, second = node.input
    rank = upgrade.rank(first)
    missing = rank - (axis + rank if axis < 0 else axis) - upgrade.rank(second)
    if missing < 0:
        raise _Refused(f"its second input does not fit the first from axis {axis} on")
    return _with_trailing_axes(upgrade, changed, missing)


def _prelu(upgrade: _Upgrade, node: NodeProto) -> list[NodeProto]:
    """One slope per channel: axis 1."""
    changed = _without(node, "consumed_inputs")
    slope = node.input[1]
    shared = slope in upgrade.constants and list(upgrade.constants[slope].dims) in ([], [1])
    if shared or upgrade.rank(slope) != 1:
        return [changed]
    return _with_trailing_axes(upgrade, changed, max(upgrade.rank(node.input[0]) - 2, 0))


def _with_trailing_axes(upgrade: _Upgrade, node: NodeProto, count: int) -> list[NodeProto]:
    """`node` reading its second input with so many axes of size 1 at the end."""
    if not count:
        return [node]
    name = node.input[1]
    rank = upgrade.rank(name)
    longer = f"{node.output[0]}/aligned"
    axes = list(range(rank, rank + count))
    changed = _without(node)
    changed.input[1] = longer
    return [onnx.helper.make_node("Unsqueeze", [name], [longer], axes=axes), changed]


def _tile(upgrade: _Upgrade, node: NodeProto) -> list[NodeProto]:
    """Repeats along one axis become repeats along every axis."""
    if len(node.input) < 3:
        return [node]
    (tiles,), (axis,) = upgrade.numbers(node.input[1]), upgrade.numbers(node.input[2])
    repeats = [1] * upgrade.rank(node.input[0])
    if not -len(repeats) <= axis < len(repeats):
        raise _Refused(f"it repeats along axis {axis} of {len(repeats)}")
    repeats[axis] = tiles
    changed = _without(node)
    del changed.input[1:]
    changed.input.append(upgrade.store(node.output[0], np.asarray(repeats, np.int64)))
    return [changed]


_ALIGNED: dict[str, _Rule] = {**dict.fromkeys(_BROADCAST, _broadcast), "PRelu": _prelu, "Tile": _tile}
