"""Score-CAM, against the network run on one masked input at a time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.kernels.masks import apply


def by_hand(model: onnx.ModelProto, x: np.ndarray, target: int, channels: list[int], layer: str) -> np.ndarray:
    maps = onnxray.activations(model, x, layer)[layer][0]
    empty = onnxray.activations(model, np.zeros_like(x), "logits")["logits"][0, target]
    scores = []
    channels = [k for k in channels if maps[k].max() > maps[k].min()]
    for k in channels:
        mask = (maps[k] - maps[k].min()) / (maps[k].max() - maps[k].min())
        mask = cv2.resize(mask, (16, 16), interpolation=cv2.INTER_LINEAR)
        scores.append(onnxray.activations(model, x * mask, "logits")["logits"][0, target] - empty)
    weights = np.exp(np.array(scores) - max(scores))
    return np.einsum("k,khw->hw", weights / weights.sum(), maps[channels])


@pytest.mark.parametrize("target", [0, 3])
def test_it_is_the_paper_s_procedure(cnn: onnx.ModelProto, target: int) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    expected = by_hand(cnn, x, target, list(range(8)), "features")
    got = onnxray.explain(cnn, x, "score-cam", target).values
    assert np.allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_channels_without_contrast_are_left_out(with_dead_channels: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    expected = by_hand(with_dead_channels, x, 2, [0, 2, 3, 5, 6, 7], "features")
    maps = onnxray.activations(with_dead_channels, x, "features")["features"][0]
    assert np.ptp(maps[1]) == np.ptp(maps[4]) == 0
    assert np.allclose(onnxray.explain(with_dead_channels, x, "score-cam", 2).values, expected, atol=1e-4)


def test_channels_that_make_the_same_mask_share_a_run(cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = onnx.ModelProto.FromString(cnn.SerializeToString())
    for tensor in alike.graph.initializer:
        if tensor.name in ("w1", "b1", "w2", "b2"):
            array = onnx.numpy_helper.to_array(tensor).copy()
            array[3], array[6] = 2 * array[0], array[0] / 4
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    maps = onnxray.activations(alike, x, "features")["features"][0]
    assert np.array_equal(maps[3], 2 * maps[0])
    assert np.array_equal(maps[6], maps[0] / 4)
    expected = by_hand(alike, x, 2, list(range(8)), "features")
    made = 0

    def counted(out: Any, clean: Any, fill: Any, masks: Any) -> None:
        nonlocal made
        made += len(masks)
        apply(out, clean, fill, masks)

    monkeypatch.setattr("onnxray.engine.methods.score_cam.apply", counted)
    got = onnxray.explain(alike, x, "score-cam", 2, threads=1).values
    assert made == 6
    assert np.allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_fewer_channels_are_those_that_vary_most(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    maps = onnxray.activations(cnn, x, "features")["features"][0]
    most = sorted(np.argsort(-maps.reshape(8, -1).var(axis=1))[:3].tolist())
    expected = by_hand(cnn, x, 2, most, "features")
    assert np.allclose(onnxray.explain(cnn, x, "score-cam", 2, channels=3).values, expected, atol=1e-4)


def test_it_needs_no_gradient(zoo: Any) -> None:
    model = zoo / "models" / "mobilenet_v2_int8_qlinear.onnx"
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    e = onnxray.explain(model, x, "score-cam", channels=3)
    assert e.values.shape == (7, 7)
    assert e.values.any()
