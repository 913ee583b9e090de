"""Finer-CAM: Grad-CAM of one class against those whose scores are nearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxray


def test_it_is_grad_cam_of_the_difference(pooled: Any) -> None:
    scores = pooled.scores[0]
    target = int(scores.argmax())
    others = [c for c in np.argsort(np.abs(scores - scores[target]), kind="stable") if c != target][:2]
    weights = pooled.head[:, target] - 0.7 * pooled.head[:, others].mean(axis=1)
    expected = np.einsum("k,khw->hw", weights, pooled.maps[0]) / 35
    got = onnxray.explain(pooled.proto, pooled.x, "finer-cam", similar=2, strength=0.7)
    assert np.allclose(got.values, expected, atol=1e-5)
    assert got.target.class_index == target


def test_without_comparison_it_is_grad_cam(pooled: Any) -> None:
    got = onnxray.explain(pooled.proto, pooled.x, "finer-cam", 1, strength=0)
    assert np.allclose(got.values, onnxray.explain(pooled.proto, pooled.x, "grad-cam", 1).values, atol=1e-6)


def test_no_more_classes_than_there_are(pooled: Any) -> None:
    weights = pooled.head[:, 1] - 0.6 * pooled.head[:, [0, 2, 3]].mean(axis=1)
    expected = np.einsum("k,khw->hw", weights, pooled.maps[0]) / 35
    assert np.allclose(onnxray.explain(pooled.proto, pooled.x, "finer-cam", 1, similar=50).values, expected, atol=1e-5)


@pytest.mark.parametrize("target", ["unit:maps:1", "contrast:0,1"])
def test_what_is_no_single_class_is_refused(pooled: Any, target: str) -> None:
    with pytest.raises(onnxray.OnnxrayError, match=r"choose a class as the target|no layer before"):
        onnxray.explain(pooled.proto, pooled.x, "finer-cam", target)
