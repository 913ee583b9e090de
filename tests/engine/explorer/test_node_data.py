"""Numbers of nodes: each against another way to them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError, UnknownName
from onnxray.engine.explorer.node_data import DATA, NodeData, file_graph, gather
from onnxray.engine.graph.model import Model
from onnxray.engine.survey.pictures import pictures_of


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(onnxray.samples()[4]).convert("RGB"))


@pytest.fixture(scope="module")
def found(pixels: np.ndarray) -> dict[str, NodeData]:
    entries, left_out = gather(onnxray.load("builtin"), pixels, lambda: pictures_of([pixels, pixels[::-1]]))
    assert left_out == {}
    return {entry.file: entry for entry in entries}


def test_what_there_is(found: dict[str, NodeData]) -> None:
    assert list(found) == ["macs", "parameters", "time", "relevance", "dead", "silence", "rank"]
    graph = file_graph(onnxray.load("builtin"))
    assert graph.name == "surface"
    for entry in found.values():
        assert set(entry.values) <= {node.name for node in graph.node}
        assert all(np.isfinite(value) and value >= 0 for value in entry.values.values())


def test_cost_is_that_of_the_layers(found: dict[str, NodeData]) -> None:
    layers = {layer.name: layer for layer in onnxray.load("builtin").layers}
    assert found["macs"].values == {name: layer.macs for name, layer in layers.items()}
    assert found["parameters"].values["head"] == layers["head"].params


def test_every_node_takes_time(found: dict[str, NodeData]) -> None:
    assert set(found["time"].values) == {node.name for node in file_graph(onnxray.load("builtin")).node}


def test_relevance_is_activation_times_gradient(found: dict[str, NodeData], pixels: np.ndarray) -> None:
    """Behind the last activation function the network is linear but for its bias: weights give the gradient."""
    model = onnxray.load("builtin")
    pooled = onnxray.activations(model, pixels, ["flat"])["flat"][0]
    weights = next(node for node in model.graph.node if node.name == "head")
    matrix = onnx.numpy_helper.to_array(model.initializers[weights.input[1]])
    row = matrix[2] if matrix.shape[0] == 8 else matrix[:, 2]
    assert found["relevance"].values["flat"] == pytest.approx(np.abs(pooled * row).sum(), rel=1e-4)
    assert found["relevance"].values["head"] == pytest.approx(onnxray.explain(model, pixels).score, rel=1e-4)


def test_health_is_that_of_the_survey(found: dict[str, NodeData], pixels: np.ndarray) -> None:
    health = onnxray.health("builtin", [pixels, pixels[::-1]])
    layer = health.layer("stage2/relu2")
    assert found["silence"].values["stage2/relu2"] == pytest.approx(float(layer.sparsity.mean()))
    assert found["rank"].values["stage2/relu2"] == pytest.approx(layer.effective_rank() / 40)
    assert found["dead"].values["stage2/relu2"] == float(layer.dead.mean())


def test_the_json_of_model_explorer(found: dict[str, NodeData]) -> None:
    ((graph, data),) = found["macs"].to_mapping().items()
    assert graph == "surface"
    assert data["results"]["stage1/conv"] == {"value": 22579200.0}
    assert [stop["stop"] for stop in data["gradient"]] == [0, 1]


def test_without_images_there_are_cost_and_time() -> None:
    entries, left_out = gather(onnxray.load("builtin"))
    assert [entry.file for entry in entries] == ["macs", "parameters", "time"]
    assert set(left_out) == {"relevance", "health"}


@pytest.mark.parametrize("name", ["relevance", "health"])
def test_what_is_asked_for_and_cannot_be_is_an_error(name: str) -> None:
    with pytest.raises(MethodError, match="none is given: name"):
        gather(onnxray.load("builtin"), wanted=[name])


def test_unknown_data() -> None:
    with pytest.raises(UnknownName, match="cost"):
        gather(onnxray.load("builtin"), wanted=["costs"])
    assert set(DATA) == {"cost", "time", "relevance", "health"}


def test_a_model_in_memory_has_the_names_of_its_nodes() -> None:
    text = "agraph (float[2] x) => (float[2] y) { a = Relu(x)  y = Relu(a) }"
    model = onnxray.load(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}'))
    assert isinstance(model, Model)
    entries, _ = gather(model, wanted=["cost"])
    assert list(entries[0].values) == ["node", "node_1"]
