"""Expose values as outputs; cut a model in two.

Every function returns new models and keeps value names, so that a value can be asked for by the same name before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import GraphProto, NodeProto, ValueInfoProto

from .errors import ShapeError, SplitError
from .graph import Model, Value, reads


def expose(model: Model, values: str | Iterable[str], *, only: bool = False) -> Model:
    """A model that also returns `values` (any values of the main graph); with `only`, nothing but them.

    Raises UnknownName for a value that the graph does not have, ShapeError for one whose type cannot be known.
    """
    names = list(dict.fromkeys([values] if isinstance(values, str) else values))
    for name in names:
        model.value(name)
    if only:
        outputs = [_info(model, name) for name in names]
        return extract(model, outputs=outputs)
    present = {v.name for v in model.graph.output}
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    graph.output.extend(_info(model, name) for name in names if name not in present)
    return model.with_graph(graph)


def split(model: Model, at: str | Iterable[str]) -> tuple[Model, Model]:
    """Cut `model` at a value or a set of values into (head, tail).

    `head` computes the values from the model's inputs; `tail` computes the model's outputs from the values. Outputs of the
    model that lie before the cut are outputs of the head. tail(head(x)) equals the whole model, bit for bit where ONNX
    Runtime runs the same kernels. Initializers that both halves need are in both.

    Raises UnknownName, and SplitError when the values do not separate inputs from outputs (a skip connection goes around
    them); it names the values to add.
    """
    cut = list(dict.fromkeys([at] if isinstance(at, str) else at))
    if not cut:
        raise SplitError("no value to cut at: name one or more values of the graph")
    inputs = {v.name for v in model.graph.input}
    for name in cut:
        model.value(name)
        if name in model.initializers:
            raise SplitError(f"{name!r} is a constant, not a value that depends on the input: cut at a computed value")
    behind = _descendants(model, cut)
    tail_outputs = [v for v in model.graph.output if v.name in behind]
    if not tail_outputs:
        raise SplitError(f"no output of the model depends on {_names(cut)}: cut at a value before the outputs")
    tail_nodes = _ancestors(model, [v.name for v in tail_outputs], stop=set(cut))
    around = _crossing(model, tail_nodes, set(cut), behind)
    if around:
        more = _names(around)
        raise SplitError(
            f"{_names(cut)} is not a cut: the outputs also depend on {more}, which go{'es' * (len(around) == 1)} around "
            f"it; add {'it' if len(around) == 1 else 'them'}: at={[*cut, *around]!r}"
        )
    head_outputs = [_info(model, name) for name in cut if name not in inputs]
    head_outputs += [_info(model, name) for name in cut if name in inputs]
    head_outputs += [v for v in model.graph.output if v.name not in behind and v.name not in cut]
    head = extract(model, outputs=head_outputs)
    tail = extract(model, outputs=tail_outputs, inputs=[_info(model, name) for name in cut])
    return head, tail


def extract(
    model: Model, *, outputs: Sequence[ValueInfoProto], inputs: Sequence[ValueInfoProto] | None = None
) -> Model:
    """The part of the graph that computes `outputs`, from `inputs` on if they are given. Unused inputs are dropped."""
    stop = {v.name for v in inputs or ()}
    nodes = _ancestors(model, [v.name for v in outputs], stop=stop)
    used = {name for node in nodes for name in reads(node)} | {v.name for v in outputs}
    graph = GraphProto(name=model.graph.name, doc_string=model.graph.doc_string)
    graph.node.extend(nodes)
    graph.input.extend(inputs or ())
    graph.input.extend(v for v in model.graph.input if v.name in used and v.name not in stop)
    graph.initializer.extend(t for t in model.graph.initializer if t.name in used and t.name not in stop)
    graph.sparse_initializer.extend(s for s in model.graph.sparse_initializer if s.values.name in used)
    graph.output.extend(outputs)
    graph.quantization_annotation.extend(q for q in model.graph.quantization_annotation if q.tensor_name in used)
    return model.with_graph(graph)


def _info(model: Model, name: str) -> ValueInfoProto:
    value = model.value(name)
    if value.dtype is None:
        for info in (*model.graph.output, *model.graph.value_info, *model.graph.input):
            if info.name == name and info.HasField("type"):
                return info
        value = typed(model, [name])[name]
    return value_info(value)


def value_info(value: Value) -> ValueInfoProto:
    """`value` as ONNX declares it. Raises ShapeError when its type is unknown."""
    if value.dtype is None:
        raise ShapeError(f"the type of the value {value.name!r} cannot be known: choose a value beside it")
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_value_info(value.name, kind, value.shape)


def typed(model: Model, names: Iterable[str]) -> dict[str, Value]:
    """Types and shapes as ONNX Runtime infers them, for values that onnx cannot type (operators of other domains)."""
    from . import session

    return session.infer_types(model, list(names))


def _names(values: Iterable[str]) -> str:
    return ", ".join(repr(v) for v in values)


def _descendants(model: Model, start: Iterable[str]) -> set[str]:
    reached = set(start)
    for node in model.graph.node:
        if any(name in reached for name in reads(node)):
            reached.update(name for name in node.output if name)
    return reached - set(start)


def _ancestors(model: Model, start: Iterable[str], stop: set[str]) -> list[NodeProto]:
    """Nodes that `start` needs, in graph order, not going past the values in `stop`."""
    wanted = {name for name in start if name not in stop}
    nodes = []
    for node in reversed(model.graph.node):
        if any(name in wanted for name in node.output):
            nodes.append(node)
            wanted.update(name for name in reads(node) if name not in stop)
    return nodes[::-1]


def _crossing(model: Model, tail_nodes: Sequence[NodeProto], cut: set[str], behind: set[str]) -> list[str]:
    """Values, other than `cut`, through which the inputs still reach the tail; as late in the graph as possible."""
    fed = [v.name for v in model.inputs]
    on_input = _descendants(model, fed) | set(fed)
    found: dict[str, None] = {}
    inside = {name for node in tail_nodes for name in node.output}
    for node in tail_nodes:
        below = any(name in behind for name in node.output)
        for name in reads(node):
            if name in cut or name in behind or name not in on_input:
                continue
            # A value that the tail only reads is the edge of the part that goes around the cut.
            if below or name not in inside:
                if below:
                    found[name] = None
    if not found:
        # The outputs reach the inputs without touching the cut at all.
        found.update((name, None) for node in tail_nodes for name in reads(node) if name in fed and name not in cut)
    return [name for name in found]
