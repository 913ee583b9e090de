"""Expose values as outputs; cut a model in two.

Every function returns new models and keeps value names, so that a value can be asked for by the same name before and
after.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from onnx import GraphProto, ValueInfoProto

from ..errors import ModelError, ShapeError, SplitError
from ..proto.edit import drop, replace
from ..proto.nodes import reads
from ..proto.values import Value, to_info
from ..runtime.trial import infer_types
from .dependencies import before, behind, outputs_of
from .min_cut import latest_separator
from .model import Model


def expose(model: Model, values: str | Iterable[str], *, only: bool = False) -> Model:
    """A model that also returns `values` (any values of the main graph); with `only`, nothing but them.

    Raises UnknownName for a value that the graph does not have, ShapeError for one whose type cannot be known.
    """
    names = list(dict.fromkeys([values] if isinstance(values, str) else values))
    for name in names:
        model.value(name)
    if only:
        if not names:
            raise SplitError("no value to expose: name one or more values of the graph")
        return extract(model, outputs=value_infos(model, names))
    present = {v.name for v in model.graph.output}
    infos = value_infos(model, [name for name in names if name not in present])
    with model.edited() as edit:
        edit.graph.output.extend(infos)
    return edit.model


def split(model: Model, at: str | Iterable[str]) -> tuple[Model, Model]:
    """Cut `model` at a value or a set of values into (head, tail).

    `head` computes the values from the model's inputs; `tail` computes the model's outputs from the values. Outputs of
    the model that lie before the cut are outputs of the head. tail(head(x)) equals the whole model, bit for bit where
    ONNX Runtime runs the same kernels. Initializers that both halves need are in both.

    Raises UnknownName, and SplitError when the values do not separate inputs from outputs (a skip connection goes
    around them); it names the values to add, as few as possible, as late in the graph as possible.
    """
    cut = list(dict.fromkeys([at] if isinstance(at, str) else at))
    if not cut:
        raise SplitError("no value to cut at: name one or more values of the graph")
    inputs = {v.name for v in model.inputs}
    on_input = outputs_of(behind(model, inputs)) | inputs
    for name in cut:
        model.value(name)
        if name not in on_input:
            raise SplitError(
                f"{name!r} is a constant, not a value that depends on the input: cut at a value computed from the input"
            )
    below = outputs_of(behind(model, cut))
    tail_outputs = [v for v in model.graph.output if v.name in below]
    if not tail_outputs:
        raise SplitError(f"no output of the model depends on {_names(cut)}: cut at a value before the outputs")
    around = _around(model, set(cut), below, on_input, [v.name for v in tail_outputs])
    if around:
        one = len(around) == 1
        raise SplitError(
            f"{_names(cut)} {'is' if len(cut) == 1 else 'are'} not a cut: the outputs also depend on {_names(around)}, "
            f"which {'goes' if one else 'go'} around {'it' if len(cut) == 1 else 'them'}; add "
            f"{'it' if one else 'them'}: at={[*cut, *around]!r}"
        )
    infos = value_infos(model, cut)
    early = [v for v in model.graph.output if v.name not in below and v.name not in cut]
    head = extract(model, outputs=[*infos, *early])
    tail = extract(model, outputs=tail_outputs, inputs=infos)
    return head, tail


def extract(
    model: Model, *, outputs: Sequence[ValueInfoProto], inputs: Sequence[ValueInfoProto] | None = None
) -> Model:
    """The part of the graph that computes `outputs`, from `inputs` on if they are given. Unused inputs are dropped."""
    whole = model.untyped.graph
    stop = {v.name for v in inputs or ()}
    nodes = before(model, [v.name for v in outputs], stop)
    used = {name for node in nodes for name in reads(node)} | {v.name for v in outputs}
    graph = GraphProto(name=whole.name, doc_string=whole.doc_string)
    graph.node.extend(nodes)
    graph.input.extend(inputs or ())
    graph.input.extend(v for v in whole.input if v.name in used and v.name not in stop)
    graph.output.extend(outputs)
    # Types behind operators of other domains, which cannot be inferred again.
    computed = {name for node in nodes for name in node.output} - {v.name for v in outputs}
    graph.value_info.extend(v for v in whole.value_info if v.name in computed)
    graph.quantization_annotation.extend(q for q in whole.quantization_annotation if q.tensor_name in used)
    with model.edited(graph) as edit:
        edit.graph.initializer.extend(t for t in whole.initializer if t.name in used and t.name not in stop)
        edit.graph.sparse_initializer.extend(s for s in whole.sparse_initializer if s.values.name in used)
    return edit.model


def narrowed(model: Model, outputs: Sequence[ValueInfoProto]) -> Model:
    """`extract` of a model that was just made and that nobody else knows: it is consumed, no weights are copied."""
    nodes = before(model, [v.name for v in outputs])
    used = {name for node in nodes for name in reads(node)} | {v.name for v in outputs}
    with model.consumed() as edit:
        graph = edit.graph
        replace(graph.node, nodes)
        replace(graph.output, outputs)
        for stored in (graph.input, graph.initializer):
            drop(stored, lambda item: item.name not in used)
        drop(graph.sparse_initializer, lambda item: item.values.name not in used)
        computed = {name for node in nodes for name in node.output} - {v.name for v in outputs}
        drop(graph.value_info, lambda item: item.name not in computed)
        drop(graph.quantization_annotation, lambda item: item.tensor_name not in used)
    return edit.model


def value_infos(model: Model, names: Sequence[str]) -> list[ValueInfoProto]:
    """How ONNX declares the values; where onnx cannot type one, ONNX Runtime may. Raises ShapeError."""
    declared = {
        info.name: info
        for info in (*model.graph.value_info, *model.graph.input, *model.graph.output)
        if info.type.WhichOneof("value")
    }
    unknown = [name for name in names if model.value(name).dtype is None and name not in declared]
    found: dict[str, Value] = {}
    if unknown:
        try:
            found = infer_types(model.proto, model.folder, unknown)
        except ModelError as error:
            raise ShapeError(f"the type of {_names(unknown)} cannot be known: {error}") from error
    infos = []
    for name in names:
        value = found.get(name, model.value(name))
        if value.dtype is None and name in declared:
            infos.append(declared[name])  # a sequence, map or optional
        else:
            infos.append(to_info(value))
    return infos


def _names(values: Iterable[str]) -> str:
    return ", ".join(repr(v) for v in values)


def _around(model: Model, cut: set[str], below: set[str], on_input: set[str], outputs: Collection[str]) -> list[str]:
    """What has to be cut as well: values not after the cut, fewest and latest, in graph order; empty for a cut."""
    crossing: dict[str, None] = {}
    for node in before(model, outputs, cut):
        if any(name in below for name in node.output):
            free = (n for n in reads(node) if n in on_input and n not in cut and n not in below)
            crossing.update(dict.fromkeys(free))
    if not crossing:
        return []
    edges: dict[str, set[str]] = {}
    for node in model.untyped.graph.node:
        targets = {name for name in node.output if name and name in on_input and name not in cut and name not in below}
        for name in reads(node):
            if name in on_input and name not in cut and name not in below:
                edges.setdefault(name, set()).update(targets)
    sources = [v.name for v in model.inputs if v.name not in cut]
    chosen = latest_separator(edges, sources, list(crossing))
    return [name for name in model.values if name in chosen]
