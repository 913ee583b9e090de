"""Complexity and localisation: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from onnxray.engine.errors import MethodError, ShapeError
from onnxray.engine.evaluate.localisation import area_under_roc, overlap, relevance_rank
from onnxray.engine.evaluate.registry import make
from onnxray.tests.engine.evaluate.cases import SIZE, case_of, linear

RNG = np.random.default_rng(5)
WEIGHTS, X = RNG.standard_normal((2, 1, *SIZE)), RNG.standard_normal((1, *SIZE)).astype(np.float32)


def test_spread_of_a_flat_map_and_of_one_pixel() -> None:
    flat, one = np.ones(SIZE), np.zeros(SIZE)
    one[3, 4] = -2
    n = flat.size
    wanted = {"sparseness": (0.0, 1 - 1 / n), "entropy": (np.log(n), 0.0), "effective-share": (1.0, 1 / n)}
    for name, values in wanted.items():
        for values_of, value in zip((flat, one), values, strict=True):
            assert make(name)(case_of(linear(WEIGHTS), X, values_of)).value == pytest.approx(value, abs=1e-9)
        with pytest.raises(MethodError, match="no heat"):
            make(name)(case_of(linear(WEIGHTS), X, one, display="positive"))


def test_gini_is_the_mean_difference() -> None:
    values = RNG.random(SIZE)
    flat = values.astype(np.float32).ravel().astype(float)
    wanted = np.abs(flat[:, None] - flat).mean() / (2 * flat.mean())
    assert make("sparseness")(case_of(linear(WEIGHTS), X, values)).value == pytest.approx(wanted, abs=1e-6)


def test_roc_and_overlap_are_scikit_learn_s() -> None:
    mask = RNG.random(SIZE) < 0.3
    heat = np.round(RNG.random(SIZE) + mask * 0.3, 1)
    assert area_under_roc(heat, mask) == pytest.approx(roc_auc_score(mask.ravel(), heat.ravel()))
    ious = [jaccard_score(mask.ravel(), (heat >= t).ravel()) for t in np.unique(heat)]
    assert overlap(heat, mask) == pytest.approx(max(ious))
    assert overlap(heat, mask, 0.5) == pytest.approx(jaccard_score(mask.ravel(), (heat >= 0.5 * heat.max()).ravel()))
    with pytest.raises(ShapeError, match="covers the whole"):
        area_under_roc(heat, np.ones(SIZE))


def test_relevance_rank_shares_ties() -> None:
    mask = np.zeros((2, 4), bool)
    mask[0] = True
    assert relevance_rank([[5, 6, 7, 8], [1, 2, 3, 4]], mask) == 1
    assert relevance_rank([[5, 6, 7, 0], [9, 2, 3, 4]], mask) == 0.75
    assert relevance_rank(np.ones((2, 4)), mask) == 0.5
    assert relevance_rank([[3, 1, 1, 1], [1, 1, 1, 1]], mask) == pytest.approx((1 + 3 * 3 / 7) / 4)


def test_the_difficult_subset_leaves_large_objects_out() -> None:
    mask = np.zeros(SIZE, bool)
    mask[:2] = True
    heat = np.arange(float(np.prod(SIZE)))[::-1].reshape(SIZE)
    case = case_of(linear(WEIGHTS), X, heat, mask=mask)
    assert make("pointing-game-difficult")(case).value == 1
    large = case_of(linear(WEIGHTS), X, heat, mask=~mask)
    assert make("pointing-game", {"tolerance": 0})(large).value == 0
    with pytest.raises(MethodError, match="quarter"):
        make("pointing-game-difficult")(large)
    with pytest.raises(MethodError, match="no mask"):
        make("iou")(case_of(linear(WEIGHTS), X, heat))
