"""Models that load and contradict themselves, found before anybody walks through them.

Every node is held against its schema and against what is inferred of its inputs, by ONNX's strict inference, which is
quick: it needs no weights. Where that objects, ONNX Runtime has the last word, as it does when the model is run.
"""

from __future__ import annotations

import math

import onnx

from ..caches import of_model
from ..errors import ModelError
from ..proto.guarded_inference import INFERENCE_ERRORS, infer_graph
from ..proto.nodes import all_nodes, plain_domain
from ..proto.shape_inference import bare_copy
from ..runtime import trial
from .model import Model


@of_model
def check_consistent(model: Model) -> None:
    """Raise ModelError, naming node or value, if number, types or shapes of a node's arguments cannot be."""
    _check_sizes(model)
    if _has_unknown_operator(model) or not _can_be_inferred(model):
        trial.check_loads(model.proto, model.folder)


def why_refused(model: Model) -> str | None:
    """Why ONNX Runtime does not load the model, None where it does."""
    try:
        trial.check_loads(model.proto, model.folder)
    except ModelError as error:
        return str(error)
    return None


# Elements of one value; nothing holds so many.
_MOST_ELEMENTS = 1 << 36


def _check_sizes(model: Model) -> None:
    for info in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        sizes = [dim.dim_value for dim in info.type.tensor_type.shape.dim if dim.dim_value > 1]
        if sizes and math.prod(sizes) > _MOST_ELEMENTS:
            raise ModelError(
                f"the value {info.name!r} would have the sizes {sizes}, more than any memory holds: the file is damaged"
            )


def _has_unknown_operator(model: Model) -> bool:
    """Whether a node of the standard domain is of an operator that the model's opset lacks."""
    kinds = {node.op_type for node in all_nodes(model.graph) if plain_domain(node.domain) == ""}
    return any(not onnx.defs.has(kind, model.opset, "") for kind in kinds)


def _can_be_inferred(model: Model) -> bool:
    try:
        infer_graph(bare_copy(model.proto), strict=True)
    except INFERENCE_ERRORS:
        return False
    return True
