"""The synthetic images, and the built-in model measured on images that it has not seen."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.files.images import read
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare, prepare_batch
from onnxray.models.surface import LABELS, render
from onnxray.models.textures import TEXTURES

HERE = Path(onnxray.__file__).parent / "models"
CARD = json.loads((HERE / "surface.json").read_text(encoding="utf-8"))
SAMPLES = json.loads((HERE / "samples" / "samples.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model() -> onnxray.Model:
    return onnxray.load(HERE / "surface.onnx")


def test_same_seed_same_pixels() -> None:
    first, again, other = render(7), render(7), render(8)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.image.shape == (160, 160, 3)
    assert first.image.dtype == np.uint8
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("texture", TEXTURES)
def test_the_mask_is_where_the_label_changed_the_picture(label: str, texture: str) -> None:
    clean, sample = render(11, "clean", texture=texture), render(11, label, texture=texture)
    assert sample.label == label
    assert sample.mask.any() == (label != "clean")
    changed = np.abs(clean.image.astype(int) - sample.image).max(-1) > 24
    # Outside the mask a defect may cast a shadow or a glint, no more.
    assert changed[~sample.mask].mean() < 0.03
    assert sample.mask.mean() < 0.5


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 1, "label": "rust"}, {"seed": 1, "size": (8, 160)}])
def test_wrong_arguments_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is \(|is -1|no label"):
        render(**wrong)  # type: ignore[arg-type]


def test_the_file_is_small_clean_and_the_one_in_the_card() -> None:
    data = (HERE / "surface.onnx").read_bytes()
    assert len(data) <= 1_500_000
    assert hashlib.sha256(data).hexdigest() == CARD["about"]["sha256"]
    proto = onnx.load_from_string(data)
    onnx.checker.check_model(proto, full_check=True)
    shape = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 3, 160, 160]


def test_accuracy_is_what_the_card_says(model: onnxray.Model) -> None:
    """On 400 images with seeds that neither training nor the card's measurement used."""
    samples = [render(seed) for seed in range(3_000_000, 3_000_400)]
    card = find_card(model)
    right = 0
    for start in range(0, len(samples), 50):
        part = samples[start : start + 50]
        logits = onnxray.activations(model, prepare_batch([s.image for s in part], card)[0], "logits")["logits"]
        right += sum(LABELS[int(k)] == s.label for k, s in zip(logits.argmax(1), part, strict=True))
    stated = CARD["about"]["accuracy"]
    measured = right / len(samples)
    assert abs(measured - stated) < 4 * math.sqrt(stated * (1 - stated) / len(samples))  # four standard deviations


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_what_their_seeds_render_and_are_recognised(name: str, model: onnxray.Model) -> None:
    row = SAMPLES[name]
    pixels = read(HERE / "samples" / name)
    rendered = render(row["seed"], row["label"], tuple(row["size"]), row["texture"])
    # Other builds of NumPy may round the last bit of a transform differently.
    assert np.abs(pixels.astype(int) - rendered.image).max() <= 2
    card = find_card(model)
    assert card.labels is not None
    logits = onnxray.activations(model, prepare(pixels, card).tensor, "logits")["logits"][0]
    assert card.labels[int(logits.argmax())] == row["label"]


def test_all_classes_have_a_sample() -> None:
    assert {row["label"] for row in SAMPLES.values()} == set(LABELS)
    assert sum((HERE / "samples" / name).stat().st_size for name in SAMPLES) < 1_200_000
