"""Health: on a model with planted faults, they are found, and nothing else; its numbers are those of the layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.errors import MethodError, OutputError, ShapeError, UnknownName
from onnxray.engine.health import health
from onnxray.engine.survey.health import load_health, merge_healths

SIDE = 12
# Units of the planted layer: 0 and 1 sound, 2 dead, 3 always on, 4 a double of 0, 5 sound.
DEAD, ALWAYS, DOUBLE = 2, 3, 4


def planted(scale: float = 1.0, function: str = "Relu") -> onnxray.Model:
    rng = np.random.default_rng(0)
    w = (rng.normal(size=(6, 3, 3, 3)) * scale).astype(np.float32)
    w[DOUBLE] = 2 * w[0]
    b = np.float32([0, 0, -1000, 1000, 0, 0.1])
    head = rng.normal(size=(6, 3)).astype(np.float32)
    inputs = ["c", "lo", "hi"] if function == "Clip" else ["c"]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1] * 4),
        helper.make_node(function, inputs, ["a"], "act"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "h"], ["y"], "head"),
    ]
    arrays = {"w": w, "b": b, "h": head, "lo": np.float32(0), "hi": np.float32(6)}
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return onnxray.load(proto, mean=127.5, std=127.5)


def images(count: int = 40, seed: int = 1) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8))


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return planted()


@pytest.fixture(scope="module")
def found(model):
    return health(model, images())


def test_layers_are_activations_and_class_scores(found):
    assert list(found.layers) == ["act", "classes"]
    assert found.count == 40


def test_planted_faults_are_found_and_nothing_else(found):
    got = {entry.kind: entry for entry in found.findings()}
    assert {kind: entry.units for kind, entry in got.items()} == {
        "dead": (DEAD,),
        "always on": (ALWAYS,),
        "duplicates": (0, DOUBLE),
    }
    assert "0 for every image" in got["dead"].text
    assert all("\n" not in entry.text and entry.layer == "act" for entry in got.values())


def test_numbers_are_those_of_the_layer(model, found):
    maps = onnxray.activations(model, images(), ["conv", "act"])
    act, layer = maps["act"].astype(np.float64), found.layer("act")
    np.testing.assert_allclose(layer.mean, act.mean((0, 2, 3)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layer.std, act.std((0, 2, 3)), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(layer.sparsity, (act <= 0).mean((0, 2, 3)), atol=1e-9)
    np.testing.assert_array_equal(layer.statistics.highest, maps["act"].max((0, 2, 3)))
    assert layer.before.sum() == maps["conv"].size
    assert layer.after.sum() == maps["act"].size
    middle = layer.quantiles(0.5, before=True)
    np.testing.assert_allclose(middle, np.median(maps["conv"], (0, 2, 3)), rtol=0.13, atol=0.2)


def test_ranks_and_correlations_are_those_of_all_places():
    """Few places: covariances are of all of them."""
    model = planted()
    found = health(model, images(), "classes").layer("classes")
    scores = onnxray.activations(model, images(), "y")["y"].astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(scores.T, bias=True))
    assert found.effective_rank() == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-3)
    assert found.covariance is not None
    np.testing.assert_allclose(found.covariance.matrix(), np.cov(scores.T, bias=True), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("function", "scale"), [("Sigmoid", 30.0), ("Tanh", 30.0), ("Clip", 100.0)])
def test_saturation(function, scale):
    model = planted(scale, function)
    layer = health(model, images(), "act").layer("act")
    values = onnxray.activations(model, images(), "act")["act"]
    ends = {"Sigmoid": (0.01, 0.99), "Tanh": (-0.99, 0.99), "Clip": (None, 6.0)}[function]
    wanted = (values >= ends[1]) | (False if ends[0] is None else values <= ends[0])
    np.testing.assert_allclose(layer.saturated, wanted.mean((0, 2, 3)), atol=1e-9)
    assert layer.function == ("ReLU6" if function == "Clip" else function)
    calm = health(planted(0.01, function), images(), "act").findings()
    if function != "Clip":
        assert {0, 1} <= set(next(f for f in health(model, images(), "act").findings() if f.kind == "saturated").units)
        assert not {0, 1} & {unit for f in calm if f.kind == "saturated" for unit in f.units}


def test_a_model_is_like_itself_and_drifts_where_it_is_changed(model):
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        if tensor.name == "h":
            noise = np.random.default_rng(9).normal(size=(6, 3)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noise, "h"))
    other = onnxray.load(proto, mean=127.5, std=127.5)
    found = health(model, images(64), against=[model, other])
    np.testing.assert_allclose(found.similarity(1), found.similarity(0), atol=1e-9)
    np.testing.assert_allclose(np.diag(found.similarity(0)), 1, atol=1e-9)
    assert found.first_drift(1) is None
    assert found.first_drift(2) == "classes"
    assert found.drift(2)["act"] == pytest.approx(0, abs=1e-6)
    assert found.drift(2)["classes"] > 0.1


def test_similarity_is_the_closed_formula(model):
    """Of many images; the layer of few values, so that all of them count."""
    many = images(512)
    found = health(model, many, ["flat", "head"])
    values = onnxray.activations(model, many, ["flat", "head"])
    x, y = (v.astype(np.float64) - v.mean(0, dtype=np.float64) for v in values.values())
    wanted = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert found.similarity()[0, 1] == pytest.approx(wanted, abs=0.03)


def test_saved_loaded_merged(model, found, tmp_path):
    found.save(tmp_path / "a")
    again = load_health(tmp_path / "a")
    assert again.to_mapping() == found.to_mapping()
    again.save(tmp_path / "b")
    for name in ("health.npz", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    parts = merge_healths(health(model, images()[:32]), health(model, images()[32:]))
    parts.save(tmp_path / "c")
    for name in ("health.npz", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    halves = merge_healths(health(model, images()[:20]), health(model, images()[20:]))
    assert [f.units for f in halves.findings()] == [f.units for f in found.findings()]
    np.testing.assert_array_equal(halves.layer("act").mean, found.layer("act").mean)
    np.testing.assert_array_equal(halves.layer("act").after, found.layer("act").after)
    assert halves.layer("act").effective_rank() == pytest.approx(found.layer("act").effective_rank())
    with pytest.raises(MethodError, match="cannot be merged"):
        merge_healths(found, health(planted(2.0), images(4)))
    with pytest.raises(OutputError, match="onnxray health"):
        load_health(tmp_path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"images": []}, ShapeError, "no image"),
        ({"layers": "atc"}, UnknownName, "act"),
        ({"sise": 3}, UnknownName, "size"),
        ({"layers": []}, MethodError, "no layer"),
    ],
)
def test_misuse(model, call, error, message):
    with pytest.raises(error, match=message):
        health(model, **{"images": images(2), **call})
