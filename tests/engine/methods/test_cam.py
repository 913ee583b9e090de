"""CAM: the class's weights times the maps, on networks that end in pooling and linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.tests.rounding import ROUNDING, apart


def test_it_is_the_class_s_weights_times_the_maps(pooled: Any) -> None:
    e = onnxray.explain(pooled.proto, pooled.x, "cam", 3)
    assert np.allclose(e.values, np.einsum("k,khw->hw", pooled.head[:, 3], pooled.maps[0]), atol=1e-4)
    assert e.values.mean() + 0 == pytest.approx(float((pooled.maps.mean(axis=(2, 3)) @ pooled.head)[0, 3]), rel=1e-4)


def test_a_softmax_after_the_head_is_left_out(pooled: Any) -> None:
    soft = onnx.ModelProto.FromString(pooled.proto.SerializeToString())
    soft.graph.node.append(onnx.helper.make_node("Softmax", ["y"], ["p"]))
    soft.graph.output[0].name = "p"
    e = onnxray.explain(soft, pooled.x, "cam")
    plain = onnxray.explain(pooled.proto, pooled.x, "cam")
    assert apart(e.values, plain.values) <= ROUNDING
    probabilities = np.exp(pooled.scores) / np.exp(pooled.scores).sum()
    assert e.score == pytest.approx(float(probabilities.max()), rel=1e-5)
    assert e.target == plain.target


def test_quantised_probabilities_have_scores_before_them(zoo: Any) -> None:
    """Softmax, QuantizeLinear, DequantizeLinear at the end of a quantised network."""
    model = onnxray.load(zoo / "models" / "mobilenet_v2_int8_qdq_nhwc.onnx")
    x = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    e = onnxray.explain(model, x, "gradient", "logit:predicted")
    p = onnxray.explain(model, x, "gradient", "predicted")
    assert e.target.inner == p.target
    assert e.score == e.scores.max()
    assert 0 < p.score <= 1


def test_a_convolution_before_the_pooling_is_a_head_too(zoo: Any) -> None:
    """mini-XCEPTION ends in a convolution of one map per class: its map is the class's own channel."""
    model = onnxray.load(zoo / "models" / "emotion_mini_xception.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 1, 48, 48)).astype(np.float32)
    e = onnxray.explain(model, x, "cam", 4)
    maps = onnxray.activations(model, x, e.layer)[e.layer]
    assert np.allclose(e.values, maps[0, 4], atol=1e-5)


@pytest.mark.parametrize("case", ["t_vgg_op13", "t_squeezenet_op11"])
def test_other_heads_are_refused(load_reference: Any, case: str) -> None:
    reference = load_reference(case)
    name = "Relu" if case == "t_vgg_op13" else None
    if name is None:
        assert onnxray.explain(reference.model, reference.x, "cam").values.any()
        return
    with pytest.raises(
        onnxray.OnnxrayError, match=r"cam needs nothing but average pooling .* but Relu .* use grad-cam"
    ):
        onnxray.explain(reference.model, reference.x, "cam")


def test_a_head_without_pooling_is_refused(parse: Any) -> None:
    model = parse(
        "m (float[N, 4, 4, 4] image) => (float[N, 3] y) { a = Relu (image) f = Flatten (a) y = MatMul (f, w) }",
        w=np.ones((64, 3), np.float32),
    )
    with pytest.raises(onnxray.OnnxrayError, match=r"cam needs average pooling"):
        onnxray.explain(model, np.ones((1, 4, 4, 4), np.float32), "cam", layer="a")
