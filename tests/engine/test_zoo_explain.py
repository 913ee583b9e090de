"""Every trained classifier of the zoo is explained with no option but the method, and the heat is where the object is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import onnxray
from onnxray.cli.files import images as files
from onnxray.cli.main import main
from onnxray.engine.errors import GradientError, MethodError
from onnxray.engine.evaluate.localisation import energy, energy_in_mask, pointing_game
from onnxray.engine.methods.registry import find, methods
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare
from onnxray.tests.engine.zoo import opened

pytestmark = pytest.mark.slow

# Classifier -> an image of its kind.
CLASSIFIERS = {
    "squeezenet_v1_1": "images/photos/cat.bmp",
    "mobilenet_v2_100_224": "images/photos/cat.bmp",
    "mobilenet_v1_075_192": "images/photos/cat.bmp",
    "mobilenet_v1_025_224": "images/photos/cat.bmp",
    "mobilenet_v2_inat_bird": "images/photos/parrot.jpg",
    "mobilenet_v2_int8_qlinear": "images/photos/cat.bmp",
    "mobilenet_v2_int8_qdq_nhwc": "images/photos/cat.bmp",
    "resnet20_cifar10": "images/cifar10/cat_0000.jpg",
    "resnet56_cifar10": "images/cifar10/cat_0000.jpg",
    "casting_inspection_cnn": "inspection/casting",
    "emotion_mini_xception": "images/photos/face.jpg",
    "vww_mobilenet_96": "images/photos/grace_hopper.bmp",
    "vit_mnist": "images/mnist",
    "mnist_cntk": "images/mnist",
}
FULLY_INTEGER = ("mobilenet_v2_int8_qlinear",)
# Method -> how much of its heat is on the cat, at least, in parts of what a map that is the same everywhere has there.
ON_THE_CAT = {
    "grad-cam": 1.0,
    "gradient": 1.0,
    "integrated-gradients": 1.05,
    "guided-backprop": 1.3,
    "layer-cam": 1.0,
    "eigen-cam": 1.1,
    "recipro-cam": 1.05,
    "smoothgrad": 1.05,
}
QUICK: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"steps": 4},
    "smoothgrad": {"samples": 2},
    "smoothgrad-squared": {"samples": 2},
    "vargrad": {"samples": 2},
    "score-cam": {"channels": 4},
    "ablation": {"segments": 6},
    "lime": {"segments": 6, "samples": 20},
    "kernel-shap": {"segments": "grid", "grid": 2},
    "sobol": {"grid": 2, "designs": 2},
}
# Enough of what is drawn at random for the heat to be where it belongs.
ENOUGH: dict[str, dict[str, Any]] = {
    "lime": {"samples": 250},
    "kernel-shap": {"samples": 250, "segments": 36},
    "sobol": {"grid": 6, "designs": 8},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_method_explains_every_classifier(name: str, zoo: Path) -> None:
    model = opened(zoo, name)
    place = zoo / CLASSIFIERS[name]
    photo = files.read(place if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())[0])
    made = set()
    for method in methods():
        cls = find(method)
        if cls.needs == "forward" and method not in QUICK:
            continue  # thousands of runs: such methods have their own tests
        try:
            e = onnxray.explain(model, photo, method, **QUICK.get(method, {}))
        except (MethodError, GradientError):
            continue
        made.add(method)
        assert np.isfinite(e.values).all(), method
        assert e.heatmap.shape == photo.shape[:2]
        assert e.overlay().shape == photo.shape
        assert not any("NaN" in w for w in e.warnings)
    assert {"ablation", "lime", "kernel-shap", "sobol"} <= made
    plain = {"gradient", "grad-cam", "grad-cam++", "layer-cam", "integrated-gradients", "guided-backprop"}
    if name in FULLY_INTEGER:
        assert not made & plain
        assert {"eigen-cam", "ablation-cam", "recipro-cam", "score-cam"} <= made
    else:
        assert plain | {"recipro-cam", "hires-cam", "deconvnet"} <= made


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "layer-cam", "recipro-cam", "guided-backprop", *ENOUGH])
@pytest.mark.parametrize("network", ["mobilenet_v2_100_224", "squeezenet_v1_1"])
@pytest.mark.parametrize(("picture", "is_object"), [("bird_segmentation", lambda m: m == 3), ("dog_segmentation", lambda m: m == 0)])  # fmt: skip
def test_the_heat_is_on_the_animal(method: str, network: str, picture: str, is_object: Any, zoo: Path) -> None:
    model = opened(zoo, network)
    photo = files.read(zoo / "images" / "photos" / f"{picture}.bmp")
    mask = is_object(cv2.imread(str(zoo / "images" / "photos" / f"{picture}_mask.bmp"), cv2.IMREAD_GRAYSCALE))
    e = onnxray.explain(model, photo, method, **ENOUGH.get(method, {}))
    heat = energy(e)
    y0, x0, y1, x1 = (round(v) for v in e.geometry.box)
    share = mask[y0:y1, x0:x1].mean()
    assert 0.02 < share < 0.9
    assert energy_in_mask(heat, mask) > 1.2 * share
    assert pointing_game(heat, mask, 15) > 0.5  # of several equally hot pixels, most


@pytest.fixture(scope="module")
def cat(zoo: Path) -> tuple[np.ndarray, np.ndarray]:
    """A photograph, and the pixels where the segmentation network sees the cat."""
    model = opened(zoo, "deeplabv3_mnv2_257")
    photo = files.read(zoo / "images" / "photos" / "cat.bmp")
    tensor = prepare(photo, find_card(model)).tensor
    winner = onnxray.activations(model, tensor, model.outputs[0].name)[model.outputs[0].name][0].argmax(axis=0)
    return photo, cv2.resize((winner == 8).astype(np.uint8), photo.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0


@pytest.mark.parametrize("method", ON_THE_CAT)
@pytest.mark.parametrize("name", [name for name, image in CLASSIFIERS.items() if "cat.bmp" in image])
def test_the_cats_heat_is_on_the_cat(name: str, method: str, zoo: Path, cat: tuple[np.ndarray, np.ndarray]) -> None:
    photo, mask = cat
    model = opened(zoo, name)
    if name in FULLY_INTEGER and find(method).needs == "gradient":
        with pytest.raises((GradientError, MethodError)):
            onnxray.explain(model, photo, method)
        return
    e = onnxray.explain(model, photo, method, **QUICK.get(method, {}))
    assert "Egyptian cat" in e.label
    heat = energy(e)
    y0, x0, y1, x1 = (round(v) for v in e.geometry.box)
    # The field's tolerance, or half a cell of the map where that is more: a coarse map can be no more exact.
    cell = (y1 - y0) / e.values.shape[-2]
    assert pointing_game(heat, mask, max(15, cell / 2)) == 1
    assert energy_in_mask(heat, mask) > ON_THE_CAT[method] * mask[y0:y1, x0:x1].mean()


def test_a_cat_in_a_scene_is_found_by_the_segmentation_network(zoo: Path, cat: tuple[np.ndarray, np.ndarray]) -> None:
    photo, mask = cat
    e = onnxray.explain(opened(zoo, "deeplabv3_mnv2_257"), photo, "hires-cam", "region:cat")
    assert "answer is a map" in str(e.reason)
    assert energy_in_mask(energy(e), mask) > 2 * mask.mean()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_command_needs_nothing_but_the_method(name: str, zoo: Path, tmp_path: Path) -> None:
    place = zoo / CLASSIFIERS[name]
    photo = place if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())[0]
    out = tmp_path / "out"
    asked = ["eigen-cam", "recipro-cam"] if name in FULLY_INTEGER else ["grad-cam", "gradient", "recipro-cam"]
    command = ["explain", zoo / "models" / f"{name}.onnx", photo, "--method", ",".join(asked), "--out", out]
    result = CliRunner(catch_exceptions=False).invoke(main, [str(c) for c in command])
    assert result.exit_code == 0, result.stderr
    (folder,) = [p for p in out.iterdir() if p.is_dir()]
    shape = files.read(photo).shape
    for method in asked:
        assert np.isfinite(np.load(folder / f"{method}.npy")).all()
        assert files.read(folder / f"{method}-overlay.png").shape == shape
    assert files.read(folder / "sheet.png").shape[1] >= 680


def test_a_face_is_found_by_the_detector(zoo: Path) -> None:
    model = opened(zoo, "ultraface_rfb_320")
    photo = files.read(zoo / "images" / "photos" / "grace_hopper.bmp")
    e = onnxray.explain(model, photo, "hires-cam", "element:scores:max,1")
    tensor = prepare(photo, find_card(model)).tensor
    got = onnxray.activations(model, tensor, ["scores", "boxes"])
    box = got["boxes"][0][got["scores"][0, :, 1].argmax()]
    height, width = photo.shape[:2]
    y, x = np.unravel_index(e.heatmap.argmax(), e.heatmap.shape)
    margin = 0.05
    assert box[0] - margin <= x / width <= box[2] + margin
    assert box[1] - margin <= y / height <= box[3] + margin
