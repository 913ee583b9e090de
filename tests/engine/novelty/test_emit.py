"""Compiled memories: the model's outputs are the same bits, score and map those of Python and of float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxray
from onnxray.engine.attribution.inputs import input_of
from onnxray.engine.compile import METADATA
from onnxray.engine.errors import CardError, MethodError, ModelError, ShapeError
from onnxray.engine.novelty.fit import fit
from onnxray.engine.novelty.memory import Novelty
from onnxray.tests.engine.novelty.test_memory import GOOD, METHODS, SIDE, surface

IMAGES = [surface(99, defect=True), surface(98), surface(97)]


@pytest.fixture(scope="module")
def memories() -> dict[str, Novelty]:
    return {name: fit("builtin", GOOD, method=name, rows=60) for name in METHODS}


def ran(model: onnxray.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_gives_what_python_does(memories: dict[str, Novelty], method: str) -> None:
    source, memory = onnxray.load("builtin"), memories[method]
    compiled = onnxray.compile(source, None, novelty=memory)
    onnx.checker.check_model(compiled.proto, full_check=True)
    assert {node.domain for node in compiled.graph.node} == {""}
    x = np.concatenate([input_of(source, image).x for image in IMAGES])
    before, after = ran(source, {"image": x}), ran(compiled, {"image": x})
    for name, values in before.items():
        assert values.tobytes() == after[name].tobytes()
    found = memory.score(IMAGES)
    scores = np.array([f.score for f in found], np.float32)
    assert after["novelty_score"].shape == (3,)
    assert np.abs(after["novelty_score"] / scores - 1).max() < 2e-5
    if memory.fitted.local:
        assert after["anomaly_map"].shape == (3, 1, 160, 160)
        grids = onnxray.compile(source, None, novelty=memory, upsample="none")
        grid = ran(grids, {"image": x})["anomaly_map"]
        assert np.abs(grid[:, 0] - np.stack([f.grid for f in found])).max() < 1e-4 * scores.max()
    else:
        assert "anomaly_map" not in after


def test_next_to_an_explanation_of_images_of_any_size(memories: dict[str, Novelty]) -> None:
    memory = memories["patchcore"]
    compiled = onnxray.compile("builtin", "grad-cam", novelty=memory, preprocess=True, normalize="uint8")
    after = ran(compiled, {"image": IMAGES[0]})
    plain = ran(onnxray.compile("builtin", "grad-cam", preprocess=True, normalize="uint8"), {"image": IMAGES[0]})
    assert after["saliency_map"].shape == after["anomaly_map"].shape == (1, 1, SIDE, SIDE)
    assert np.abs(after["saliency_map"].astype(int) - plain["saliency_map"]).max() <= 1
    found = memory.score(IMAGES[0])
    assert float(after["novelty_score"][0]) == pytest.approx(found.score, rel=1e-3)
    assert np.abs(after["anomaly_map"][0, 0] - found.map).max() < 1e-3 * found.score
    note = json.loads(compiled.metadata[METADATA])["novelty"]
    assert note["outputs"] == ["novelty_score", "anomaly_map"]
    assert note["threshold"] == memory.calibration.threshold


@pytest.mark.parametrize("method", ["patchcore", "knn"])
def test_outputs_as_anomalib_has_them(memories: dict[str, Novelty], method: str) -> None:
    """Of images of 0..1 in any size: 0.5 is the threshold, and nothing but these outputs is there."""
    memory = memories[method]
    compiled = onnxray.compile("builtin", None, novelty=memory, novelty_outputs="anomalib", preprocess="UNIT")
    names = ["pred_score", "pred_label", "anomaly_map", "pred_mask"][: 4 if memory.fitted.local else 2]
    assert [v.name for v in compiled.outputs] == names
    assert json.loads(compiled.metadata[METADATA])["novelty"]["outputs"] == names
    onnx.checker.check_model(compiled.proto, full_check=True)
    # What an Identity passes on has two names in OpenVINO, and anomalib's inferencer takes the first.
    assert "Identity" not in {node.op_type for node in compiled.graph.node if set(node.output) & set(names)}
    x = np.stack(IMAGES).transpose(0, 3, 1, 2).astype(np.float32) / 255
    after, found, threshold = ran(compiled, {"image": x}), memory.score(IMAGES), memory.calibration.threshold
    shares = np.array([f.score for f in found]) / (2 * threshold)
    np.testing.assert_allclose(after["pred_score"], np.clip(shares, 0, 1), atol=1e-4)
    assert after["pred_label"].tolist() == [f.novel for f in found]
    assert after["pred_label"].tolist() == (after["pred_score"] > 0.5).tolist()
    if memory.fitted.local:
        maps = np.stack([f.map for f in found])[:, None]
        assert after["anomaly_map"].shape == after["pred_mask"].shape == maps.shape
        assert np.abs(after["anomaly_map"] - np.clip(maps / (2 * threshold), 0, 1)).max() < 1e-3
        near = np.abs(maps / threshold - 1) < 1e-3
        assert ((maps > threshold) == after["pred_mask"])[~near].all()


def test_a_path_will_do(memories: dict[str, Novelty], tmp_path: Path) -> None:
    path = memories["patchcore"].save(tmp_path / "memory.npz")
    one = onnxray.compile("builtin", None, novelty=path)
    other = onnxray.compile("builtin", None, novelty=memories["patchcore"])
    assert one.proto.SerializeToString(deterministic=True) == other.proto.SerializeToString(deterministic=True)


def test_why_a_region_is_novel(memories: dict[str, Novelty]) -> None:
    """The compiled score has a gradient: explained by it, the defect's pixels stand out."""
    compiled = onnxray.compile("builtin", None, novelty=memories["patchcore"])
    x = input_of(onnxray.load("builtin"), IMAGES[0]).x
    found = onnxray.explain(compiled, x, "gradient", target="value:novelty_score")
    heat = np.abs(found.heatmap)
    y0, x0, y1, x1 = (round(edge * 160 / SIDE) for edge in (18, 50, 46, 78))
    assert heat[y0:y1, x0:x1].sum() > 0.8 * heat.sum()


def test_what_contradicts_itself_is_refused(memories: dict[str, Novelty]) -> None:
    memory = memories["patchcore"]
    with pytest.raises(MethodError, match="neither a method nor a memory"):
        onnxray.compile("builtin", None)
    with pytest.raises(MethodError, match="without a method nothing is explained"):
        onnxray.compile("builtin", None, target="crack", novelty=memory)
    once = onnxray.compile("builtin", None, novelty=memory)
    other = fit(once, GOOD, rows=20)
    with pytest.raises(ModelError, match="value called 'novelty_score' already"):
        onnxray.compile(once, None, novelty=other)
    model = onnxray.load("builtin")
    gradients = onnxray.vjp(model, of=[model.outputs[0].name], wrt=[model.inputs[0].name])
    with pytest.raises(ModelError, match="this is a memory of another model"):
        onnxray.compile(gradients, None, novelty=memory)
    with pytest.raises(MethodError, match="give novelty and no method"):
        onnxray.compile("builtin", "grad-cam", novelty=memory, novelty_outputs="anomalib")
    with pytest.raises(MethodError, match="explains nothing"):
        onnxray.compile("builtin", visualize="stage2/relu2:0", novelty=memory)


def named(old: str, new: str) -> onnxray.Model:
    """The built-in model, with a value of another name."""
    proto = onnxray.load("builtin").proto
    for node in proto.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    kept = [info for info in proto.graph.value_info if info.name != old]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    return onnxray.load(proto)


@pytest.mark.parametrize("outputs", ["own", "anomalib"])
@pytest.mark.parametrize("name", ["pred_score", "pred_mask", "novelty_score", "anomaly_map"])
def test_only_names_that_are_added_are_refused(name: str, outputs: str) -> None:
    model = named("stage2/relu1", name)
    memory = fit(model, GOOD[:6], rows=20)
    added = {"own": ("novelty_score", "anomaly_map"), "anomalib": ("pred_score", "pred_mask", "anomaly_map")}[outputs]
    if name in added:
        with pytest.raises(ModelError, match=f"has a value called '{name}' already"):
            onnxray.compile(model, None, novelty=memory, novelty_outputs=outputs)
        return
    compiled = onnxray.compile(model, None, novelty=memory, novelty_outputs=outputs)
    found = ran(compiled, {"image": input_of(model, IMAGES[0]).x})
    score = memory.score(IMAGES[0]).score
    if outputs == "own":
        np.testing.assert_allclose(found["novelty_score"], score, rtol=1e-3)
    else:
        share = 0.5 * score / memory.calibration.threshold
        np.testing.assert_allclose(found["pred_score"], min(share, 1), rtol=1e-3)


def test_another_size_of_images_is_refused(memories: dict[str, Novelty]) -> None:
    with pytest.raises(CardError, match="size is 224x224 but the model's input is fixed at 160x160"):
        onnxray.compile("builtin", None, novelty=memories["patchcore"], size=224)
    proto = onnxray.load("builtin").proto
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "hw"[axis - 2]
    memory = fit(proto, GOOD, rows=20, size=96)
    with pytest.raises(ShapeError, match="images of 160x160 and the memory is of 96x96: give size=96x96"):
        onnxray.compile(proto, None, novelty=memory, size=160)
    compiled = onnxray.compile(proto, None, novelty=memory, size=96)
    x = input_of(onnxray.load(proto, size=96), IMAGES[0]).x
    assert float(ran(compiled, {"image": x})["novelty_score"][0]) == pytest.approx(
        memory.score(IMAGES[0]).score, rel=1e-3
    )
