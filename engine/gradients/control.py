"""Control flow: If, Loop, Scan, whatever their condition or trip count is.

If is differentiated by branch: another If, on the same condition, pulls cotangents back through the branch taken.

Loop and Scan keep, for every step, the values that it started from: the forward node gets one more scan output per
carried value. Backward, a Scan walks the steps in reverse; its body computes the step again from what was kept, pulls
the cotangents of the carried values and of the step's outputs back through it, carries the cotangents on to the step
before, and adds up those of captured outer values (reverse mode with a checkpoint per step; Griewank & Walther 2008,
chapter 12). So the trip count may be dynamic, and the graph does not grow with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from ..errors import NoGradient
from ..proto.edit import rename
from ..proto.nodes import reads
from ..proto.values import constant_tensor, elem_of, shape_of, tensor_type
from .registry import gradient

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..emitter.node import Node
    from .registry import Cotangents


def _inline(op: Emitter, graph: GraphProto, names: dict[str, str]) -> list[str]:
    """Emit the nodes of `graph`, its inputs replaced according to `names`; the names of its outputs in `op`."""
    names = dict(names)
    for tensor in graph.initializer:
        names[tensor.name] = op.const(onnx.numpy_helper.to_array(tensor))
    for node in graph.node:
        tensor = constant_tensor(node) if node.op_type == "Constant" else None
        if tensor is not None:
            names[node.output[0]] = op.const(onnx.numpy_helper.to_array(tensor))
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        for output in node.output:
            if output:
                names[output] = op.fresh(node.op_type)
        rename(copy, names)
        copy.name = next(o for o in copy.output if o)
        op.add(copy)
    return [names.get(v.name, v.name) for v in graph.output]


def _pull(op: Emitter, cotangents: Mapping[str, str], wrt: Sequence[str]) -> dict[str, str]:
    """Pull cotangents back through the nodes emitted so far in this scope."""
    assert op.pull is not None
    return op.pull(op, cotangents, wrt) if cotangents and wrt else {}


def _sum_by_value(op: Emitter, pairs: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """Cotangents by value; a value that is an output twice gets the sum. Integer outputs have none."""
    sums: dict[str, str] = {}
    for value, cotangent in pairs:
        if cotangent is not None and op.is_float(value):
            sums[value] = op.Add(sums[value], cotangent) if value in sums else cotangent
    return sums


def _captured(node: Node, op: Emitter) -> list[str]:
    """Outer float values that the node's subgraphs read and whose cotangent is used."""
    inputs = set(node.inputs)
    names = dict.fromkeys(name for name in reads(node.proto) if name not in inputs or name in _inner_reads(node))
    return [name for name in names if name in node.active and op.is_float(name)]


def _inner_reads(node: Node) -> set[str]:
    bare = NodeProto(op_type=node.op_type, attribute=node.proto.attribute)
    return set(reads(bare))


def _finish(op: Emitter, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[str]) -> GraphProto:
    """The scope as a subgraph, with only the nodes that its outputs need, each output a value of its own."""
    distinct: list[str] = []
    made = {o for node in op.nodes for o in node.output}
    for output in outputs:
        distinct.append(output if output in made and output not in distinct else op.fresh("output"))
        if distinct[-1] != output:
            op.add(NodeProto(op_type="Identity", input=[output], output=[distinct[-1]], name=distinct[-1]))
    needed = set(distinct)
    kept = []
    for node in reversed(op.nodes):
        if any(o in needed for o in node.output):
            kept.append(node)
            needed.update(reads(node))
    op.nodes = kept[::-1]
    return op.graph(name, inputs, distinct)


def _info(op: Emitter, name: str, kind: TypeProto | None) -> ValueInfoProto:
    info = ValueInfoProto(name=name)
    if kind is not None:
        info.type.CopyFrom(kind)
        op.set_type(name, kind)
    return info


def _kind(op: Emitter, name: str) -> TypeProto | None:
    """The value's type; where its shape is not known, a trial run is asked."""
    if shape_of(op.type(name)) is None:
        op.learn()
    return op.type(name)


def _subgraph(node: Node, name: str) -> GraphProto:
    graph = node.attribute(name)
    assert isinstance(graph, GraphProto)
    return graph


@gradient("If")
def if_(node: Node, cotangents: Cotangents, op: Emitter) -> Mapping[str, str]:
    """The branch that was taken, pulled back; what the other branch captures gets zeros."""
    names = _captured(node, op)
    if not names:
        return {}
    branches = []
    for which in ("then_branch", "else_branch"):
        inner = op.scope()
        outputs = _inline(inner, _subgraph(node, which), {})
        found = _pull(inner, _sum_by_value(inner, list(zip(outputs, cotangents, strict=True))), names)
        results = [found[name] if name in found else inner.zeros_like(name) for name in names]
        graph = _finish(inner, f"{node.label}_{which}_gradient", [], results)
        branches.append(onnx.helper.make_attribute(which, graph))
    outputs = [op.fresh("If") for _ in names]
    for output, name in zip(outputs, names, strict=True):
        kind = op.type(name)
        if kind is not None:
            op.set_type(output, kind)
    op.nodes.append(
        NodeProto(op_type="If", input=[node.inputs[0]], output=outputs, name=outputs[0], attribute=branches)
    )
    return dict(zip(names, outputs, strict=True))


class _Steps:
    """A loop seen as steps: what it carries, what it reads and writes per step, and the body that does it.

    carried     (initial value, value at the start of each step stacked along axis 0, final value, body's input, output)
    read        (what is read, axis, direction, body's input), one slice per step; direction 1 goes from the end
    written     (what is written, axis, direction, body's output)
    numbers     body inputs that are fed a vector with one entry per step (the iteration number of a Loop)
    constants   body inputs with the same value in every step
    """

    def __init__(self, body: GraphProto) -> None:
        self.body = body
        self.carried: list[tuple[str, str, str | None, str, str]] = []
        self.read: list[tuple[str, int, int, str]] = []
        self.written: list[tuple[str | None, int, int, str]] = []
        self.numbers: list[tuple[str, str]] = []
        self.constants: list[tuple[str, str]] = []


def _slice_type(op: Emitter, value: str, axis: int) -> TypeProto | None:
    kind = _kind(op, value)
    shape = shape_of(kind)
    if kind is None or shape is None:
        return None if kind is None else tensor_type(elem_of(kind), None)
    axis %= len(shape)
    return tensor_type(elem_of(kind), (*shape[:axis], *shape[axis + 1 :]))


def _keep(node: Node, op: Emitter, values: Sequence[tuple[str, TypeProto | None]], body: GraphProto) -> list[str]:
    """Give the loop one more scan output per body value: its value at each step."""
    stacked = []
    for value, kind in values:
        output = op.fresh(f"{node.op_type}_kept")
        inner = op.fresh("kept")
        body.node.append(NodeProto(op_type="Identity", input=[value], output=[inner], name=inner))
        info = body.output.add(name=inner)
        if kind is not None:
            info.type.CopyFrom(kind)
            shape = shape_of(kind)
            op.set_type(output, tensor_type(elem_of(kind), None if shape is None else (None, *shape)))
        node.proto.output.append(output)
        stacked.append(output)
    return stacked


def _body_of(node: Node) -> GraphProto:
    """The body of the driver's own copy of the node, to be changed in place."""
    return next(a.g for a in node.proto.attribute if a.name == "body")


def _refuse_non_tensors(node: Node, body: GraphProto) -> None:
    for value in (*body.input, *body.output):
        if value.type.WhichOneof("value") not in (None, "tensor_type"):
            raise NoGradient(
                f"no gradient for {node.op_type!r} (node {node.label!r}): it carries {value.name!r}, which is no "
                "tensor (a sequence or optional value): export the loop with tensors, or choose `of` before it"
            )


@gradient("Scan")
def scan(node: Node, cotangents: Cotangents, op: Emitter) -> Mapping[str, str]:
    body = _body_of(node)
    _refuse_non_tensors(node, body)
    count = node.attribute("num_scan_inputs")
    states = len(node.inputs) - count
    writes = len(node.outputs) - states
    in_axes = node.attribute("scan_input_axes", [0] * count)
    in_directions = node.attribute("scan_input_directions", [0] * count)
    out_axes = node.attribute("scan_output_axes", [0] * writes)
    out_directions = node.attribute("scan_output_directions", [0] * writes)
    original = GraphProto()
    original.CopyFrom(body)
    kinds = [_kind(op, name) for name in node.inputs[:states]]
    kept = _keep(node, op, [(v.name, k) for v, k in zip(body.input, kinds, strict=False)], body)
    for attribute in node.proto.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.extend([0] * len(kept))
    steps = _Steps(original)
    for index in range(states):
        steps.carried.append(
            (
                node.inputs[index],
                kept[index],
                cotangents[index],
                original.input[index].name,
                original.output[index].name,
            )
        )
    for index in range(count):
        value = node.inputs[states + index]
        steps.read.append((value, in_axes[index], in_directions[index], original.input[states + index].name))
    for index in range(writes):
        axis, direction = out_axes[index], out_directions[index]
        steps.written.append((cotangents[states + index], axis, direction, original.output[states + index].name))
    return _walk_back(node, op, steps)


@gradient("Loop")
def loop(node: Node, cotangents: Cotangents, op: Emitter) -> Mapping[str, str]:
    body = _body_of(node)
    _refuse_non_tensors(node, body)
    carried = len(node.inputs) - 2
    original = GraphProto()
    original.CopyFrom(body)
    kinds: list[TypeProto | None] = [tensor_type(TensorProto.INT64, ())]
    kinds += [_kind(op, name) for name in node.inputs[2:]]
    names = [body.input[0].name, *(v.name for v in body.input[2:])]
    kept = _keep(node, op, list(zip(names, kinds, strict=True)), body)
    steps = _Steps(original)
    steps.numbers.append((kept[0], original.input[0].name))
    steps.constants.append((op.const(True, dtype=bool), original.input[1].name))
    for index in range(carried):
        steps.carried.append(
            (
                node.inputs[2 + index],
                kept[1 + index],
                cotangents[index],
                original.input[2 + index].name,
                original.output[1 + index].name,
            )
        )
    for index in range(carried, len(node.outputs)):
        steps.written.append((cotangents[index], 0, 0, original.output[1 + index].name))
    return _walk_back(node, op, steps)


def _walk_back(node: Node, op: Emitter, steps: _Steps) -> Mapping[str, str]:
    """Emit the Scan over the steps in reverse; the cotangents of what the loop read, by value."""
    captured = _captured(node, op)
    inner = op.scope()
    names: dict[str, str] = {formal: value for value, formal in steps.constants}
    state_inputs: list[tuple[str, ValueInfoProto]] = []
    scan_inputs: list[tuple[str, int, int, ValueInfoProto]] = []

    def feed(value: str, axis: int, direction: int, kind: TypeProto | None) -> str:
        formal = inner.fresh("step")
        scan_inputs.append((value, axis, 1 - direction, _info(inner, formal, kind)))
        return formal

    for value, formal in steps.numbers:
        names[formal] = feed(value, 0, 0, _slice_type(op, value, 0))
    for initial, kept, _, formal, _ in steps.carried:
        names[formal] = feed(kept, 0, 0, _kind(op, initial))
    for value, axis, direction, formal in steps.read:
        names[formal] = feed(value, axis, direction, _slice_type(op, value, axis))

    outputs = dict(zip((v.name for v in steps.body.output), _inline(inner, steps.body, names), strict=True))
    floats = [c for c in steps.carried if op.is_float(c[0])]
    pairs: list[tuple[str, str | None]] = []
    for initial, _, final, _, result in floats:
        carry = inner.fresh("carried_cotangent")
        state_inputs.append((final or op.zeros_like(initial), _info(inner, carry, op.type(initial))))
        pairs.append((outputs[result], carry))
    for cotangent, axis, direction, result in steps.written:
        if cotangent is not None:
            pairs.append((outputs[result], feed(cotangent, axis, direction, _slice_type(op, cotangent, axis))))
    sums = []
    for name in captured:
        formal = inner.fresh("sum")
        sums.append(formal)
        state_inputs.append((op.zeros_like(name), _info(inner, formal, op.type(name))))

    read = [r for r in steps.read if op.is_float(r[0]) and r[0] in node.active]
    wrt = list(dict.fromkeys([*(names[c[3]] for c in floats), *(names[r[3]] for r in read), *captured]))
    found = _pull(inner, _sum_by_value(inner, pairs), wrt)

    def result_of(name: str) -> str:
        return found[name] if name in found else inner.zeros_like(name)

    results = [result_of(names[c[3]]) for c in floats]
    results += [inner.Add(s, found[n]) if n in found else s for s, n in zip(sums, captured, strict=True)]
    results += [result_of(names[r[3]]) for r in read]
    graph = _finish(
        inner, f"{node.label}_gradient", [i for _, i in state_inputs] + [s[3] for s in scan_inputs], results
    )
    made = [op.fresh("Scan") for _ in results]
    likes = [c[0] for c in floats] + captured + [r[0] for r in read]
    for output, like in zip(made, likes, strict=True):
        kind = op.type(like)
        if kind is not None:
            op.set_type(output, kind)
    attributes: dict[str, object] = {
        "body": graph,
        "num_scan_inputs": len(scan_inputs),
        "scan_input_axes": [s[1] for s in scan_inputs],
        "scan_input_directions": [s[2] for s in scan_inputs],
    }
    if read:
        attributes["scan_output_axes"] = [r[1] for r in read]
        attributes["scan_output_directions"] = [1 - r[2] for r in read]
    op.nodes.append(
        NodeProto(
            op_type="Scan",
            input=[v for v, _ in state_inputs] + [s[0] for s in scan_inputs],
            output=made,
            name=made[0],
            attribute=[_attribute(name, value) for name, value in sorted(attributes.items())],
        )
    )
    totals: dict[str, str] = {}
    for output, like in zip(made, likes, strict=True):
        if like in node.active:
            totals[like] = op.Add(totals[like], output) if like in totals else output
    return totals


def _attribute(name: str, value: object) -> AttributeProto:
    return onnx.helper.make_attribute(name, value)
