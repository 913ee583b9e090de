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
    floats, or the fused operator that has it; None where the ids choose no rows."""
    node = _lookup(model, name)
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
