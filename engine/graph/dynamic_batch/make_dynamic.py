"""Give a model that was exported for a fixed batch size a dynamic one, if that provably changes nothing else.

The proof walks the graph once. A value *carries the batch* if its axis 0 runs along the samples and its entry i is
computed from sample i alone, in the same way for every i. The inputs do; an operator hands this on if it has a rule
(`proof.py`) and keeps axis 0 to itself. Where the batch size is written into an argument (the shape of a Reshape, the
sizes of a Resize), the argument is rewritten. Any other operator that reads a value that carries the batch ends the
proof.
"""

from __future__ import annotations

from onnx import GraphProto, ValueInfoProto

from ...errors import ModelError, ShapeError
from ...proto.arguments import Unreadable
from ...proto.edit import copied
from ...proto.nodes import label, plain_domain, reads
from ..model import Model
from . import compute_rules, layout_rules  # noqa: F401 (they register their rules)
from .proof import RULES, Batch, BatchRefused

_NAME = "batch"


def make_dynamic(model: Model) -> Model:
    """`model` with a dynamic batch size; itself if it has one already.

    For any number of samples the result gives what the model gives for each of them (but for the rounding of kernels
    that ONNX Runtime chooses by size). Raises ShapeError, naming the node that prevents it.
    """
    if not fixed_batches(model):
        return model
    size = _batch_size(model)
    batch = Batch(model, size)
    for value in model.inputs:
        batch.carries.add(value.name)
    for node in model.graph.node:
        carried = [name for name in reads(node) if name in batch.carries]
        if not carried:
            batch.add(node)
            continue
        rule = RULES.get((plain_domain(node.domain), node.op_type))
        if rule is None:
            raise ShapeError(
                f"the batch size {size} cannot be made dynamic: node {label(node)} may mix samples; run {size} at "
                "a time"
            )
        try:
            rule(batch, node)
        except (BatchRefused, Unreadable, ModelError) as refused:
            raise ShapeError(
                f"the batch size {size} cannot be made dynamic: at node {label(node)} {refused}; run {size} at a time"
            ) from None
    for output in model.outputs:
        if output.name not in batch.carries:
            raise ShapeError(f"the batch size {size} cannot be made dynamic: output {output.name!r} has no batch axis")
    made = model.with_graph(_rewritten(model, batch))
    _check(made, batch)
    return made


def fixed_batches(model: Model) -> list[int]:
    """The first sizes of the inputs that are numbers, ascending, each once.

    Where another input has an open first size, an input with an open size further back has its samples there: as the
    state of a recurrent network, (layers x directions, batch, hidden).
    """
    shapes = [v.shape for v in model.inputs if v.shape]
    is_open = any(not isinstance(shape[0], int) for shape in shapes)
    fixed = [shape for shape in shapes if isinstance(shape[0], int)]
    states = [shape for shape in fixed if is_open and not all(isinstance(d, int) for d in shape)]
    return sorted({int(shape[0] or 0) for shape in fixed if shape not in states})


def _batch_size(model: Model) -> int:
    sizes = set()
    for value in model.inputs:
        if not value.shape or not isinstance(value.shape[0], int):
            raise ShapeError(
                f"the batch size cannot be made dynamic: it is not known which axis of {value} is the batch"
            )
        sizes.add(value.shape[0])
    if len(sizes) > 1:
        listed = ", ".join(str(v) for v in model.inputs)
        raise ShapeError(f"the batch size cannot be made dynamic: the inputs differ in it ({listed})")
    return int(sizes.pop())


def _rewritten(model: Model, batch: Batch) -> GraphProto:
    taken = {d for v in model.values.values() for d in v.shape or () if isinstance(d, str)}
    symbol = _NAME
    while symbol in taken:
        symbol += "_"
    graph = GraphProto()
    for field in ("name", "doc_string"):
        setattr(graph, field, getattr(model.graph, field))
    graph.node.extend(batch.nodes)
    graph.initializer.extend(model.graph.initializer)
    graph.initializer.extend(batch.initializers.values())
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    graph.quantization_annotation.extend(model.graph.quantization_annotation)
    for infos, target in (
        (model.graph.input, graph.input),
        (model.graph.output, graph.output),
        (model.graph.value_info, graph.value_info),
    ):
        for info in infos:
            target.append(_with_symbol(info, symbol) if info.name in batch.carries else info)
    return graph


def _with_symbol(info: ValueInfoProto, symbol: str) -> ValueInfoProto:
    changed = copied(info)
    dims = changed.type.tensor_type.shape.dim
    if len(dims):
        dims[0].dim_param = symbol
    return changed


def _check(made: Model, batch: Batch) -> None:
    """Nothing that carries the batch may have kept a fixed size there; the inference is an independent witness."""
    for name in batch.carries:
        shape = made.values[name].shape
        if shape is not None and (not shape or isinstance(shape[0], int)):
            raise ShapeError(f"the batch size cannot be made dynamic: {made.values[name]} keeps a fixed one")
