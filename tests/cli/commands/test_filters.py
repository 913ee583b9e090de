"""`onnxray filters`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from onnxray.cli.figures.filters import as_rgb
from onnxray.cli.files.images import read
from onnxray.engine.load import load


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_the_first_layer_is_drawn_in_colour(run: Callable[..., Result], model: Path, out: Path) -> None:
    done = run("filters", model, "--out", out)
    assert done.exit_code == 0
    assert "layer 'stem': the first Conv with weights" in done.stderr
    (entry,) = manifest_of(out)["filters"]
    weights = load(model).constant("w1")
    assert weights is not None
    assert (entry["form"], entry["order"], entry["weights"]) == ("colour", "RGB", "w1")
    np.testing.assert_array_equal(np.load(out / "stem.npy"), weights)
    norms = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(entry["norms"], norms)
    assert entry["shown"] == np.argsort(-norms, kind="stable").tolist()
    assert entry["range"]["hi"] == -entry["range"]["lo"] == np.abs(weights).max()
    assert entry["files"] == ["stem.npy", "stem.png"]


def test_weight_zero_is_mid_gray_and_bgr_is_turned_round() -> None:
    kernel = np.zeros((3, 1, 2), np.float32)
    kernel[0, 0, 1] = 2.0
    assert as_rgb(kernel, 2.0, "RGB").tolist() == [[[128, 128, 128], [255, 128, 128]]]
    assert as_rgb(kernel, 2.0, "BGR").tolist() == [[[128, 128, 128], [128, 128, 255]]]
    assert as_rgb(-kernel, 2.0, "RGB").tolist() == [[[128, 128, 128], [0, 128, 128]]]
    assert as_rgb(kernel, 0.0, "RGB").tolist()[0][0] == [128, 128, 128]


def test_bgr_models(run: Callable[..., Result], model: Path, out: Path) -> None:
    run("filters", model, "--order", "BGR", "--out", out)
    assert manifest_of(out)["filters"][0]["order"] == "BGR"


def test_other_forms(run: Callable[..., Result], model: Path, out: Path) -> None:
    run("filters", model, "--layer", "inner", "--layer", "logits", "--most", 3, "--out", out)
    inner, logits = manifest_of(out)["filters"]
    assert inner["form"] == "grid"
    assert len(inner["shown"]) == len(inner["inputs_shown"]) == 3
    assert logits["form"] == "matrix"
    assert (out / "inner.png").is_file()
    assert np.load(out / "logits.npy").shape == (5, 8)


def test_on_an_image(run: Callable[..., Result], model: Path, photos: Path, out: Path) -> None:
    done = run("filters", model, "--layer", "stem", "--layer", "inner", "--on", photos, "--all", "--out", out)
    assert done.exit_code == 0
    manifest = manifest_of(out)
    assert [Path(i["path"]).name for i in manifest["images"]] == ["noise.png", "ramp.png", "square.png"]
    for image in manifest["images"]:
        assert [layer["shown"] for layer in image["layers"]] == [list(range(8))] * 2
        for name in image["files"]:
            assert min(read(out / name).shape[:2]) > 300
    assert run("filters", model, "--layer", "logits", "--on", photos, "--out", out, "--force").exit_code == 1


def test_the_same_run_writes_the_same_bytes(
    run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        assert run("filters", model, "--on", photo, "--layer", "stem", "--out", tmp_path / name).exit_code == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    "case",
    [
        "t_audio1d_op17",
        "t_conv3d_op17",
        "t_dilated_grouped_asym_op11",
        "t_unet_convt_op13",
        "t_lstm_op13",
        "hf_vit_op17",
        "q_qdq_t_resnet_basic_op17",
        "t_qat_pertensor_op13",
        "q_dyn_hf_distilbert_op17",
    ],
)
def test_every_weight_of_networks_of_all_kinds(run: Callable[..., Result], zoo: Path, out: Path, case: str) -> None:
    from onnxray.engine.inspect.weights import weighted_layers

    model = next((zoo / "frameworks" / case).glob("*.onnx"))
    having = weighted_layers(load(model))
    assert having
    done = run("filters", model, *(part for layer in having for part in ("--layer", layer.name)), "--out", out)
    assert done.exit_code == 0, done.stderr
    assert len(manifest_of(out)["filters"]) == len(having)
