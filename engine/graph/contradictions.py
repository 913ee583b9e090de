"""Models that load and contradict themselves, found before anybody walks through them.

Every node is held against its schema and against what is inferred of its inputs, by ONNX's strict inference, which is
quick: it needs no weights. Where that objects, ONNX Runtime has the last word, as it does when the model is run.
"""

from __future__ import annotations

import onnx
import onnx.shape_inference

from ..caches import of_model
from ..proto.nodes import all_nodes, plain_domain
from ..proto.shape_inference import bare_copy
from ..runtime import trial
from .model import Model


@of_model
def check_consistent(model: Model) -> None:
    """Raise ModelError, naming the node, if number, types or shapes of a node's arguments cannot be."""
    if _has_unknown_operator(model) or not _can_be_inferred(model):
        trial.check_loads(model.proto, model.folder)


def _has_unknown_operator(model: Model) -> bool:
    """Whether a node of the standard domain is of an operator that the model's opset lacks."""
    kinds = {node.op_type for node in all_nodes(model.graph) if plain_domain(node.domain) == ""}
    return any(not onnx.defs.has(kind, model.opset, "") for kind in kinds)


def _can_be_inferred(model: Model) -> bool:
    try:
        onnx.shape_inference.infer_shapes(bare_copy(model.proto), check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, onnx.checker.ValidationError):
        return False
    return True
