"""The extension of Model Explorer, against its own base classes where it is installed, else against the same by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onnxray

NAME = "onnxray.cli.explorer.main"


class Fields:
    """A record of whatever it is given, as Model Explorer's dataclasses are."""

    def __init__(self, **fields: Any) -> None:
        self.result, self.error, self.configEditors = None, "", None
        self.__dict__.update(fields)


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if importlib.util.find_spec("model_explorer") is None:
        for name, members in {
            "model_explorer": (
                *("GetConfigEditorsResult", "NodeDataProviderFilter", "NodeDataProviderMetadata"),
                "NodeDataProviderResult",
            ),
            "model_explorer.config_editor": ("TextInputConfigEditor",),
            "model_explorer.node_data_builder": ("GradientItem", "GraphNodeData", "NodeDataResult"),
        }.items():
            module = types.ModuleType(name)
            module.__dict__.update({member: type(member, (Fields,), {}) for member in members})
            monkeypatch.setitem(sys.modules, name, module)
        sys.modules["model_explorer"].NodeDataProvider = type("NodeDataProvider", (), {})  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    yield importlib.import_module(NAME).Onnxray()
    sys.modules.pop(NAME, None)


def run(extension: Any, provider: str, **values: Any) -> Any:
    path = str(Path(onnxray.load("builtin").path or ""))
    return extension.run(provider_id=provider, model_path=path, graph_id="surface", config_values=values, graph=None)


def test_four_providers(extension: Any) -> None:
    assert [m.id for m in extension.metadata] == ["onnxray_cost", "onnxray_time", "onnxray_relevance", "onnxray_health"]
    editors = {m.id: [e.id for e in extension.get_config_editors(m.id).configEditors] for m in extension.metadata}
    assert editors["onnxray_cost"] == editors["onnxray_time"] == []
    assert editors["onnxray_relevance"] == ["images", "target"]
    assert editors["onnxray_health"] == ["images"]


def test_numbers_of_the_nodes(extension: Any) -> None:
    found = run(extension, "onnxray_cost")
    assert not found.error
    assert [entry.name for entry in found.result] == ["Multiply-accumulates", "Parameters"]
    assert found.result[0].results["stage1/conv"].value == 22579200.0
    (relevance,) = run(extension, "onnxray_relevance", images=str(onnxray.samples()[4])).result
    assert "head" in relevance.results


def test_errors_are_one_line(extension: Any) -> None:
    found = run(extension, "onnxray_health")
    assert found.result is None
    assert found.error == "health is measured on images, and none is given: name some"
    assert "no-such" in run(extension, "onnxray_health", images="no-such.png").error
