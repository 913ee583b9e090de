"""Where token ids become numbers with a slope: the rows of a table that they choose."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ..caches import of_model
from ..graph.model import Model
from ..proto.nodes import plain_domain

# What ids pass on their way to the table: types, shapes and ranges are changed, and negative ids wrapped around.
_CARRIERS = frozenset(
    "Cast Reshape Squeeze Unsqueeze Identity Transpose Slice Flatten Clip Where Add Sub Mul Mod".split()
)
_FUSED = "EmbedLayerNormalization"


@of_model
def embedding_of(model: Model, name: str) -> str | None:
    """The value that holds the embeddings of the ids in the input `name`: the first Gather of rows of a table of
    floats, the fused operator that has it, or else a 1 at the place of each id among zeros; None where the ids choose
    nothing."""
    node = _lookup(model, name) or _one_hot(model, name)
    return None if node is None else str(node.output[0])


def table_name(model: Model, name: str) -> str | None:
    """The table that the ids in the input `name` choose rows of; None where they choose none."""
    node = _lookup(model, name)
    return None if node is None else str(node.input[2 if node.op_type == _FUSED else 0])


def table_of(model: Model, name: str) -> tuple[int | str | None, ...] | None:
    """The shape of the table that the ids in the input `name` choose rows of; None where they choose none."""
    node = _lookup(model, name)
    table = None if node is None else model.values.get(node.input[2 if node.op_type == _FUSED else 0])
    return None if table is None else table.shape


def _lookup(model: Model, name: str) -> NodeProto | None:
    """The first node that reads a table at the ids in the input."""
    carried = {name}
    for node in model.graph.node:
        if _chooses_rows(model, node, carried):
            return node
        if node.op_type in _CARRIERS and carried.intersection(node.input):
            carried.update(output for output in node.output if output)
    return None


def _chooses_rows(model: Model, node: NodeProto, ids: set[str]) -> bool:
    domain = plain_domain(node.domain)
    if node.op_type == _FUSED:
        return node.input[0] in ids
    if domain or node.op_type != "Gather" or node.input[1] not in ids:
        return False
    table = model.values.get(node.input[0])
    return table is not None and table.rank == 2 and table.dtype is not None and np.dtype(table.dtype).kind == "f"


def _one_hot(model: Model, name: str) -> NodeProto | None:
    """The node that has a 1 at the place of each id in the input: OneHot, or Equal to a row of numbers and Cast."""
    carried, compared = {name}, set[str]()
    for node in model.graph.node:
        if plain_domain(node.domain):
            continue
        made = model.values.get(node.output[0])
        floats = made is not None and made.dtype is not None and np.dtype(made.dtype).kind == "f"
        if floats and (
            (node.op_type == "OneHot" and node.input[0] in carried)
            or (node.op_type == "Cast" and node.input[0] in compared)
        ):
            return node
        if node.op_type == "Equal" and carried.intersection(node.input):
            others = [n for n in node.input if n not in carried]
            if others and all((numbers := model.constant(n)) is not None and numbers.size > 1 for n in others):
                compared.update(node.output)
        elif node.op_type in _CARRIERS or node.op_type == "Expand":
            for known in (carried, compared):
                if known.intersection(node.input):
                    known.update(output for output in node.output if output)
    return None
