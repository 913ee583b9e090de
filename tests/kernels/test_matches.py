"""Overlaps of boxes against NumPy: suppression, and the best match of answers."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.detection.suppress import overlaps
from onnxray.kernels.matches import best_matches, suppress

RNG = np.random.default_rng(2)


def boxes(*shape: int) -> np.ndarray:
    first = RNG.uniform(0, 50, (*shape, 2))
    return np.concatenate([first, first + RNG.uniform(1, 30, (*shape, 2))], axis=-1)


def test_suppression_is_the_textbooks() -> None:
    found, labels = boxes(120), RNG.integers(0, 3, 120)
    kept: list[int] = []
    for i in range(120):
        near = overlaps(found[i : i + 1], found[kept])[0] if kept else np.zeros(0)
        if not ((near > 0.4) & (labels[kept] == labels[i])).any():
            kept.append(i)
    assert suppress(found, labels, 0.4, 1000).tolist() == kept
    assert suppress(found, labels, 0.4, 5).tolist() == kept[:5]
    assert suppress(found[:0], labels[:0], 0.4, 5).size == 0


@pytest.mark.parametrize("cosine", [False, True])
def test_the_best_match_is_the_greatest_product(cosine: bool) -> None:
    sides, scores = boxes(3, 40).astype(np.float32), RNG.uniform(0, 1, (3, 40, 5)).astype(np.float32)
    wanted, labels, own = boxes(4), np.array([0, 4, 2, 2]), RNG.uniform(0, 1, (4, 5))
    got = best_matches(sides, scores, wanted, labels, own if cosine else None)
    for b in range(3):
        for k in range(4):
            worth = scores[b, :, labels[k]].astype(float)
            if cosine:
                p = scores[b].astype(float)
                worth = p @ own[k] / np.linalg.norm(p, axis=1) / np.linalg.norm(own[k]) * p.max(axis=1)
            assert got[b, k] == pytest.approx((overlaps(wanted[k : k + 1], sides[b])[0] * worth).max(), rel=1e-6)


def test_objectness_stands_for_the_greatest_probability() -> None:
    sides, scores = boxes(2, 30).astype(np.float32), RNG.uniform(0, 1, (2, 30, 3)).astype(np.float32)
    wanted, own, sure = boxes(2), RNG.uniform(0, 1, (2, 3)), RNG.uniform(0, 1, (2, 30)).astype(np.float32)
    got = best_matches(sides, scores, wanted, [0, 1], own, sure)
    for b in range(2):
        for k in range(2):
            p = scores[b].astype(float)
            alike = p @ own[k] / np.linalg.norm(p, axis=1) / np.linalg.norm(own[k])
            worth = overlaps(wanted[k : k + 1], sides[b])[0] * alike * sure[b]
            assert got[b, k] == pytest.approx(worth.max(), rel=1e-6)


def test_boxes_without_an_area_and_edges_that_are_no_numbers_do_not_match() -> None:
    whole = [0.0, 0.0, 10.0, 10.0]
    wrong = [[5, 5, 5, 5], [np.nan, 0, 10, 10], [0, 0, np.nan, 10], [0, 0, np.inf, 10], [8, 8, 2, 2]]
    got = best_matches(np.array([wrong], np.float32), np.ones((1, 5, 1)), [whole, [5, 5, 5, 5]], [0, 0])
    assert got.tolist() == [[0.0, 0.0]]


def test_what_is_no_number_does_not_match() -> None:
    sides, scores = boxes(1, 3).astype(np.float32), np.full((1, 3, 1), np.nan, np.float32)
    assert best_matches(sides, scores, boxes(1), [0]).tolist() == [[0.0]]


def test_shapes_that_do_not_fit() -> None:
    sides, scores = boxes(1, 3), np.zeros((1, 3, 2))
    for arguments in (
        (sides[:, :2], scores, boxes(1), [0]),
        (sides, scores, boxes(2), [0]),
        (sides, scores, boxes(1), [2]),
        (sides, scores, boxes(1), [0], np.zeros((1, 3))),
        (sides, scores, boxes(1), [0], np.zeros((1, 2)), np.zeros((1, 4))),
    ):
        with pytest.raises(ValueError):
            best_matches(*arguments)
    with pytest.raises(ValueError):
        suppress(boxes(3), [0, 1], 0.5, 5)
