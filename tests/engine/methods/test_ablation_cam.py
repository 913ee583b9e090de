"""Ablation-CAM, against the network run once per channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.tail import Tail
from onnxray.engine.methods.families.cam import tail_scores


def test_on_a_linear_head_a_channel_weighs_what_it_adds(pooled: Any) -> None:
    means = pooled.maps[0].mean(axis=(1, 2))
    for target in range(4):
        weights = pooled.head[:, target] * means / abs(pooled.scores[0, target])
        expected = np.einsum("k,khw->hw", weights, pooled.maps[0])
        got = onnxray.explain(pooled.proto, pooled.x, "ablation-cam", target).values
        assert np.allclose(got, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("layer", ["stem_relu", "inner", "features"])
def test_it_is_what_happens_when_a_channel_is_zeroed_in_the_graph(cnn: onnx.ModelProto, layer: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    maps = onnxray.activations(cnn, x, layer)[layer]
    clean = onnxray.activations(cnn, x, "logits")["logits"][0, 2]
    weights = []
    for channel in range(8):
        # The same graph with a mask multiplied in: an independent way to run the rest of the network.
        mask = np.ones((1, 8, 1, 1), np.float32)
        mask[0, channel] = 0
        masked = onnx.ModelProto.FromString(cnn.SerializeToString())
        masked.graph.initializer.append(onnx.numpy_helper.from_array(mask, "mask"))
        at = next(i for i, n in enumerate(masked.graph.node) if layer in n.output)
        for node in masked.graph.node[at + 1 :]:
            for i, value in enumerate(node.input):
                if value == layer:
                    node.input[i] = "masked"
        masked.graph.node.insert(at + 1, onnx.helper.make_node("Mul", [layer, "mask"], ["masked"]))
        weights.append((clean - onnxray.activations(masked, x, "logits")["logits"][0, 2]) / abs(clean))
    expected = np.einsum("k,khw->hw", np.array(weights), maps[0])
    got = onnxray.explain(cnn, x, "ablation-cam", 2, layer).values
    assert np.allclose(got, expected, atol=1e-4 * np.abs(expected).max())


def test_channels_that_are_zero_are_not_run(
    with_dead_channels: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    maps = onnxray.activations(with_dead_channels, x, "features")["features"][0]
    alive = np.flatnonzero(maps.any(axis=(1, 2)))
    assert not {1, 4} & set(alive.tolist())
    ran = 0

    def counted(tail: Tail, values: Any, rows: Any) -> Any:
        nonlocal ran
        ran += len(values)
        return scores(tail, values, rows)

    scores = Tail.scores
    monkeypatch.setattr(Tail, "scores", counted)
    got = onnxray.explain(with_dead_channels, x, "ablation-cam", 2, "features").values
    assert ran == len(alive)
    monkeypatch.setattr("onnxray.engine.methods.ablation_cam.tail_scores", lambda *given: tail_scores(*given[:5]))
    assert np.allclose(got, onnxray.explain(with_dead_channels, x, "ablation-cam", 2, "features").values, atol=1e-6)


def test_it_needs_no_gradient(parse: Any) -> None:
    rng = np.random.default_rng(0)
    model = parse(
        """
        m (float[N, 3, 4, 4] image) => (float[N, 4] y)
        {
          a = Conv (image, w)
          maps = Relu (a)
          gap = GlobalAveragePool (maps)
          flat = Flatten (gap)
          steps = Mul (flat, hundred)
          y = Round (steps)
        }
        """,
        w=rng.standard_normal((4, 3, 1, 1)).astype(np.float32),
        hundred=np.array(100, np.float32),
    )
    x = rng.standard_normal((1, 3, 4, 4)).astype(np.float32)
    e = onnxray.explain(model, x, "ablation-cam")
    best = e.target.class_index
    maps = onnxray.activations(model, x, "maps")["maps"][0]
    assert np.allclose(e.values, maps[best], atol=1e-5)
