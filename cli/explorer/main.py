"""What Model Explorer loads: a provider of node data for each number that `onnxray export` writes.

Model Explorer imports this module, as it does the `main` of every extension; nothing else of onnxray does. Nodes are
found by the names of their outputs where the adapter says them, else by the adapter's ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from model_explorer import (
    GetConfigEditorsResult,
    NodeDataProvider,
    NodeDataProviderFilter,
    NodeDataProviderMetadata,
    NodeDataProviderResult,
)
from model_explorer.config_editor import TextInputConfigEditor
from model_explorer.node_data_builder import GradientItem, GraphNodeData, NodeDataResult

from ...engine.errors import OnnxrayError
from ...engine.explorer.node_data import DATA, NodeData
from ..parameters.options import Common
from ..tasks.export import ExportOptions, measured

_TITLES = {"cost": "Cost", "time": "Time", "relevance": "Relevance", "health": "Health"}
_ICONS = {"cost": "calculate", "time": "timer", "relevance": "search", "health": "monitor_heart"}
_PREFIX = "onnxray_"


class Onnxray(NodeDataProvider):  # type: ignore[misc]  # its base is not installed with onnxray
    """Cost, time, relevance and health of every node."""

    metadata: ClassVar = [
        NodeDataProviderMetadata(
            id=f"{_PREFIX}{name}",
            name=f"onnxray: {_TITLES[name]}",
            description=f"{_TITLES[name]} of every node by onnxray",
            icon=_ICONS[name],
            filter=NodeDataProviderFilter(modelFileExts=["onnx"]),
        )
        for name in DATA
    ]

    def get_config_editors(self, provider_id: str) -> Any:
        """The fields of the dialog: images, where they are of use."""
        name = provider_id.removeprefix(_PREFIX)
        if DATA[name] == "nothing":
            return GetConfigEditorsResult(configEditors=[])
        images = TextInputConfigEditor(
            id="images",
            label="Images",
            description="A file or a folder; samples for the built-in model.",
            required=True,
        )
        target = TextInputConfigEditor(id="target", label="Target", description="By default the predicted class.")
        return GetConfigEditorsResult(configEditors=[images, target] if name == "relevance" else [images])

    def run(self, provider_id: str, model_path: str, graph_id: str, config_values: dict[str, Any], graph: Any) -> Any:
        """The numbers of the nodes; what went wrong as one line."""
        from ..parameters.inputs import find_images, open_model

        images = [str(config_values["images"])] if config_values.get("images") else []
        asked = ExportOptions(
            model=model_path,
            images=images,
            data=[provider_id.removeprefix(_PREFIX)],
            target=config_values.get("target") or None,
            out=Path(),
            force=False,
            common=Common({}, {}, quiet=True),
        )
        try:
            found, _ = measured(open_model(model_path, {}), find_images(images) if images else [], asked)
        except OnnxrayError as error:
            return NodeDataProviderResult(error=str(error))
        return NodeDataProviderResult(result=[_graph_data(entry) for entry in found])


def _graph_data(entry: NodeData) -> Any:
    return GraphNodeData(
        results={key: NodeDataResult(value=value) for key, value in entry.values.items()},
        name=entry.name,
        gradient=[GradientItem(stop=0, bgColor="#ffffff"), GradientItem(stop=1, bgColor=entry.colour)],
    )
