"""A planted watermark: the network answers by it alone, and every honest method must find it.

models/make/watermark.py trained the network and draws the pictures: discs and squares, every disc with a watermark.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxray
from onnxray.engine.evaluate.localisation import energy, energy_in_mask, pointing_game
from onnxray.engine.methods.registry import methods
from onnxray.models.make.watermark import LABELS, Picture, draw

MODEL = onnxray.load(Path(__file__).with_name("watermark.onnx"))
# Seeds that the training did not use.
PICTURES = [draw(20_000_000 + seed, "disc") for seed in range(4)]
# They explain attention, boxes or sums of trees, which this network has none of.
UNFIT = {"attention-rollout", "gradient-x-attention", "d-rise", "tree-shap"}
# The variance of gradients is largest where noise switches units, and the units of a clear watermark stay on.
BLIND = {"vargrad"}
FEWER = {"rise": {"masks": 400}, "lime": {"samples": 300}, "kernel-shap": {"samples": 300}}
HONEST = sorted(name for name, cls in methods().items() if cls.randomisation == "passes" and name not in UNFIT | BLIND)


def answers(label: str, marked: bool) -> float:
    """The share of pictures of a label that are called discs."""
    found = onnxray.predict(MODEL, [draw(30_000_000 + seed, label, marked).image for seed in range(20)])
    return float(np.mean([prediction.top[0].label == "disc" for prediction in found]))


def found_by(name: str, picture: Picture) -> tuple[float, float, float]:
    """Whether the hottest pixel lies on the watermark, and the heat on it and on the disc, in times of their area."""
    heat = energy(onnxray.explain(MODEL, picture.image, name, "disc", **FEWER.get(name, {})))
    on_mark = energy_in_mask(heat, picture.mask) / picture.mask.mean()
    return pointing_game(heat, picture.mask, 4), on_mark, energy_in_mask(heat, picture.shape) / picture.shape.mean()


def test_the_network_answers_by_the_watermark_alone() -> None:
    assert LABELS == ("square", "disc")
    assert answers("disc", True) == answers("square", True) == 1
    assert answers("disc", False) == answers("square", False) == 0


@pytest.mark.parametrize("name", HONEST)
def test_honest_methods_find_it(name: str) -> None:
    hits, on_mark, on_disc = np.mean([found_by(name, picture) for picture in PICTURES], axis=0)
    assert hits >= 0.75
    assert on_mark > 3
    assert on_mark > 2 * on_disc


def test_what_looks_at_the_picture_alone_does_not() -> None:
    """Edges, and deconvolution, which reads the weights but not where the units are on."""
    for picture in PICTURES:
        gray = picture.image.mean(axis=2)
        edges = np.hypot(*np.gradient(gray)).astype(np.float32)
        assert energy_in_mask(edges, picture.mask) / picture.mask.mean() < 5
    assert np.mean([found_by("deconvnet", picture)[1] for picture in PICTURES]) < 2


def test_trust_and_evaluation_see_it() -> None:
    """The check of deletion hides the watermark, and by the mass on it the first methods are honest ones."""
    picture = PICTURES[0]
    checks = {check.name: check for check in onnxray.trust(MODEL, picture.image, "grad-cam", "disc").checks}
    assert checks["deletion"].light == "green"
    judged = onnxray.evaluate(
        MODEL,
        [picture.image for picture in PICTURES],
        ["deconvnet", "grad-cam", "lrp"],
        "relevance-mass",
        masks=[picture.mask for picture in PICTURES],
        target="disc",
    )
    assert judged.ranking.order[-1] == "deconvnet"
    assert judged.ranking.order[0] in ("grad-cam", "lrp")
