"""Values in ONNX Runtime's blocked layout: declared as (N, C, H, W), laid out as (N, C / block, H, W, block).

ONNX Runtime writes such values into a model that it saves at its default optimisation level
(`SessionOptions.optimized_model_filepath`): convolutions and pools of the domain com.microsoft.nchwc, and between them
operators of the standard (Add, Concat, ...) on values in that layout. Only `ReorderOutput` brings them back.
"""

from __future__ import annotations

from ..caches import of_model
from ..graph.model import Model
from ..proto.nodes import reads

BLOCKED_DOMAIN = "com.microsoft.nchwc"
BLOCKED = (
    "its values are in ONNX Runtime's blocked layout (com.microsoft.nchwc), which no map can be read from: use the "
    "model as exported, or have ONNX Runtime save it with graph_optimization_level ORT_ENABLE_EXTENDED or below"
)


@of_model
def blocked_values(model: Model) -> frozenset[str]:
    """The values of `model` that are in the blocked layout."""
    if not any(domain == BLOCKED_DOMAIN for domain, _ in model.operators):
        return frozenset()
    found: set[str] = set()
    for node in model.graph.node:
        inside = node.domain == BLOCKED_DOMAIN
        if node.op_type == "ReorderOutput" and inside:
            continue
        if inside or any(name in found for name in reads(node)):
            found.update(name for name in node.output if name)
    return frozenset(found)
