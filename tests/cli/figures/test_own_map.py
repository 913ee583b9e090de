"""The map that a model answers with, next to the explanation of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.figures.own_map import own_map
from onnxray.cli.files.images import read, write

Parse = Callable[..., onnx.ModelProto]
Run = Callable[..., Result]
W = np.full((1, 3, 1, 1), 1 / 3, np.float32)
CARD = {"mean": 0, "std": 255, "size": [16, 16], "resize": "stretch"}


def anomalies(parse: Parse, batch: bool = True) -> onnx.ModelProto:
    """The lightness of each place, and the greatest."""
    if batch:
        return parse(
            """m (float[N, 3, 16, 16] image) => (float[N] pred_score, float[N, 1, 8, 8] anomaly_map) {
                 c = Conv (image, w)  anomaly_map = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
                 pred_score = ReduceMax <axes = [1, 2, 3], keepdims = 0> (anomaly_map) }""",
            opset=17,
            w=W,
        )
    return parse(
        """m (float[1, 3, 16, 16] image) => (float[8, 8] anomaly_map) { c = Conv (image, w)
             p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)  anomaly_map = Squeeze (p, first) }""",
        w=W,
        first=np.array([0, 1]),
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[12:16, 20:24] = 255
    write(tmp_path / "spot.png", pixels)
    return tmp_path / "spot.png"


def test_explain_shows_it_next_to_the_image(tmp_path: Path, run: Run, photo: Path, parse: Parse) -> None:
    file, out = tmp_path / "anomaly.onnx", tmp_path / "out"
    onnx.save(anomalies(parse), file)
    (tmp_path / "anomaly.json").write_text(json.dumps(CARD))
    done = run("explain", file, photo, "-m", "gradient,occlusion", "-o", out)
    assert done.exit_code == 0, done.output
    (image,) = json.loads((out / "manifest.json").read_text())["images"]
    assert image["own_map"]["output"] == "anomaly_map"
    values = onnxray.activations(file, read(photo), "anomaly_map")["anomaly_map"]
    assert image["own_map"]["greatest"] == pytest.approx(float(values.max()), rel=1e-6)
    y, x = image["own_map"]["at"]
    assert 12 <= y < 16
    assert 20 <= x < 24
    assert image["own_map"]["files"] == ["spot/own-map-overlay.png"]
    assert set(image["own_map"]["files"]) < set(image["files"])
    shown = read(out / "spot" / "own-map-overlay.png")
    assert shown.shape == (32, 32, 3)
    assert shown[14, 22].astype(int).sum() > shown[2, 2].astype(int).sum()
    wide = read(out / "spot" / "sheet.png").shape[1]
    assert run("explain", file, photo, "-m", "gradient", "-o", tmp_path / "one").exit_code == 0
    assert wide - read(tmp_path / "one" / "spot" / "sheet.png").shape[1] > 200  # image, own map, two methods; one less


def test_classifiers_and_several_maps_have_none(photo: Path, parse: Parse, cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn)
    x = np.zeros((1, 3, 16, 16), np.float32)
    assert own_map(model, x, onnxray.explain(model, x, "gradient", f"value:{model.outputs[0].name}:1"), {}) is None
    several = onnxray.load(
        parse("m (float[N, 3, 16, 16] image) => (float[N, 3, 16, 16] y) { y = Relu (image) }"), answer="map"
    )
    assert own_map(several, x, onnxray.explain(several, x, "gradient", "mean:y"), {}) is None


def test_a_map_without_a_batch(photo: Path, parse: Parse) -> None:
    model = onnxray.load(anomalies(parse, batch=False), **CARD, answer="map")
    e = onnxray.explain(model, photo, "gradient", "mean:anomaly_map:12,20,16,24")
    own = own_map(model, read(photo), e, {})
    assert own is not None
    values = onnxray.activations(model, read(photo), "anomaly_map")["anomaly_map"]
    np.testing.assert_array_equal(own.e.values, values)
    assert own.e.heatmap.shape == (32, 32)
    assert own.e.heatmap[14, 22] > 0.5 * own.e.values.max()
