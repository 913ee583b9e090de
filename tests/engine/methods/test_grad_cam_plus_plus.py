"""Grad-CAM++: pytorch-grad-cam's maps, and the formula written out place by place."""

from __future__ import annotations

from typing import Any

import numpy as np

import onnxray


def test_it_matches_the_reference(reference: Any, difference: Any) -> None:
    assert difference(reference.explain("grad-cam++").values, reference.raw("gradcampp")) < 1e-4


def test_it_is_the_paper_s_formula(pooled: Any) -> None:
    gradient = pooled.head[:, 1] / 35
    expected = np.zeros((5, 7))
    for k in range(6):
        total = pooled.maps[0, k].sum()
        weight = 0.0
        for _ in range(35):
            if gradient[k] > 0:
                alpha = gradient[k] ** 2 / (2 * gradient[k] ** 2 + total * gradient[k] ** 3 + 1e-6)
                weight += alpha * gradient[k]
        expected += weight * pooled.maps[0, k]
    assert np.allclose(onnxray.explain(pooled.proto, pooled.x, "grad-cam++", 1).values, expected, rtol=1e-4)
