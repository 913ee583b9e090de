"""Non-maximum suppression by plugins of TensorRT, which ONNX Runtime does not have."""

from __future__ import annotations

from ..errors import ModelError
from ..graph.model import Model

_PLUGINS = frozenset(
    ("EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "EfficientNMSX_TRT", "TRTBatchedNMS", "NMSRotated")
)


def check_plugins(model: Model) -> None:
    """Raises ModelError where the model suppresses boxes by a plugin; it says what to cut at."""
    for node in model.graph.node:
        if node.op_type in _PLUGINS:
            raise ModelError(
                f"the graph ends in {node.op_type}, a plugin of TensorRT that ONNX Runtime does not have: export the "
                f"model without it, or cut it off before {', '.join(map(repr, node.input[:2]))}"
            )
