"""`onnxray.evaluate`: what is judged, what is left out, and which method comes first."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.engine.errors import MethodError, ShapeError, UnknownName
from onnxray.engine.evaluate.registry import make
from onnxray.engine.evaluate.results import Evaluation, Judged
from onnxray.engine.survey.pictures import Picture
from onnxray.models.surface import render

SAMPLES = [render(3_000_000 + i, label) for i, label in enumerate(("crack", "pit"))]
IMAGES = [(sample.label, sample.image) for sample in SAMPLES]
MASKS = [sample.mask for sample in SAMPLES]
QUICK = [make("deletion", {"step": 3200}), "sparseness", "pointing-game"]


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return onnxray.evaluate("builtin", IMAGES, ["grad-cam", "gradient"], QUICK, masks=MASKS)


def test_values_tables_and_curves(found: Evaluation, tmp_path: Path) -> None:
    e = onnxray.explain("builtin", IMAGES[0][1], "grad-cam")
    gini = make("sparseness")
    assert found.values("grad-cam", "sparseness").shape == (2,)
    assert gini.better == "higher"
    heat = np.maximum(np.asarray(e.map), 0)
    assert found.images[0].target == e.label
    assert heat.any()
    x, y = found.curve("grad-cam", "deletion") or ((), ())
    assert (x[0], x[-1], len(y)) == (0, 1, 101)
    one = found.aggregate("gradient", "deletion")
    assert one is not None
    assert one.low <= one.mean <= one.high
    lines = found.to_csv().splitlines()
    assert lines[0] == "method,metric,better,mean,low,high,images"
    assert len(lines) == 7
    assert found.to_markdown().count("\n") == 4
    assert {path.name for path in found.save(tmp_path)} == {"table.csv", "table.md", "evaluation.json"}
    saved = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    again = Judged.from_mapping("crack", saved["images"][0])
    assert again.values == found.images[0].values
    assert found.compare("grad-cam", "gradient", "deletion").count == 2
    assert "2 images are too few" in found.advice
    assert sorted(found.image_order("grad-cam")) == [0, 1]


def test_methods_that_do_not_fit_are_left_out_with_the_reason() -> None:
    found = onnxray.evaluate("builtin", IMAGES[:1], metrics=["sparseness"])
    assert "attention-rollout" in found.left_out()
    assert math.isnan(found.values("attention-rollout", "sparseness")[0])
    assert found.aggregate("attention-rollout", "sparseness") is None
    with pytest.raises(MethodError):
        onnxray.evaluate("builtin", IMAGES[:1], "attention-rollout", "sparseness")


def test_an_image_without_a_mask_has_no_localisation() -> None:
    found = onnxray.evaluate("builtin", IMAGES, "grad-cam", "iou,sparseness", masks=[MASKS[0], None])
    assert np.isfinite(found.values("grad-cam", "iou")).tolist() == [True, False]
    assert "no mask" in found.images[1].left_out["grad-cam iou"]
    assert found.left_out() == {}


def test_the_object_s_class_is_explained_if_the_model_has_it() -> None:
    sample = SAMPLES[0]
    for label, target in (("dent", "dent (5)"), ("bicycle", "scratch (1)")):
        picture = Picture("one", sample.image, label)
        found = onnxray.evaluate("builtin", [picture], "gradient", "iou,sparseness", masks=[sample.mask])
        (image,) = found.images
        assert image.target == target
        assert ("iou" in image.values["gradient"]) == (label == "dent")
        assert ("bicycle" in "".join(image.notes)) == (label == "bicycle")


def test_what_does_not_fit_is_refused_in_words() -> None:
    with pytest.raises(ShapeError, match=r"the mask of crack has 5 x 5 pixels and the image 160 x 160"):
        onnxray.evaluate("builtin", IMAGES, "grad-cam", "iou", masks=[np.ones((5, 5), bool)] * 2)
    with pytest.raises(ShapeError, match="1 masks are given for more images"):
        onnxray.evaluate("builtin", IMAGES, "grad-cam", "iou", masks=MASKS[:1])
    with pytest.raises(ShapeError, match="there is no image"):
        onnxray.evaluate("builtin", [], "grad-cam")
    with pytest.raises(UnknownName, match="nearest: 'seed'"):
        onnxray.evaluate("builtin", IMAGES, sed=1)
    with pytest.raises(MethodError, match="one target at a time"):
        onnxray.evaluate("builtin", IMAGES, "gradient", "sparseness", target="top:2")
