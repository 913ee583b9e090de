"""Recipro-CAM, against the head run on one place at a time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.recipro_cam import spots
from onnxray.tests.engine.zoo import feeds_of


def test_on_a_linear_head_a_place_gives_what_it_holds(pooled: Any) -> None:
    expected = np.einsum("k,khw->hw", pooled.head[:, 2], pooled.maps[0]) / 35
    single = onnxray.explain(pooled.proto, pooled.x, "recipro-cam", 2, mask="single").values
    assert np.allclose(single, expected, atol=1e-5)
    around = onnxray.explain(pooled.proto, pooled.x, "recipro-cam", 2).values
    kernel = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]).astype(np.float32)
    blurred = cv2.filter2D(expected, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    assert np.allclose(around, blurred, atol=1e-5)


@pytest.mark.parametrize("gaussian", [True, False])
def test_masks_keep_one_spot_each(gaussian: bool) -> None:
    masks = spots((3, 4), gaussian)
    assert masks.shape == (13, 3, 4)
    assert not masks[-1].any()
    for number, mask in enumerate(masks[:-1]):
        assert mask.reshape(-1)[number] == mask.max() == 1
        assert np.count_nonzero(mask) <= (9 if gaussian else 1)
    assert masks[5].sum() == (4 if gaussian else 1)


def test_skips_around_the_layer_keep_their_values(cnn: onnx.ModelProto) -> None:
    """`inner` is added to `pooled`: with `inner` masked, the sum still holds all of `pooled`."""
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    clean = onnxray.activations(cnn, x, ["inner", "pooled"])
    w3, b3 = (onnx.numpy_helper.to_array(t) for t in cnn.graph.initializer if t.name in ("w3", "b3"))

    def score(inner: np.ndarray) -> float:
        return float((np.maximum(inner + clean["pooled"], 0).mean(axis=(2, 3)) @ w3.T + b3)[0, 1])

    nothing = score(np.zeros_like(clean["inner"]))
    expected = np.empty((8, 8))
    for y in range(8):
        for x_ in range(8):
            kept = np.zeros_like(clean["inner"])
            kept[..., y, x_] = clean["inner"][..., y, x_]
            expected[y, x_] = score(kept) - nothing
    got = onnxray.explain(cnn, x, "recipro-cam", 1, "inner", mask="single").values
    assert np.allclose(got, expected, atol=1e-5)


def test_tokens_are_masked_and_class_tokens_stay(zoo: Any) -> None:
    folder = zoo / "frameworks" / "hf_vit_op17"
    x = next(iter(feeds_of(folder).values()))[:1]
    e = onnxray.explain(folder / "model.onnx", x, "recipro-cam", mask="single")
    assert e.values.shape == (4, 4)
    assert e.values.any()
