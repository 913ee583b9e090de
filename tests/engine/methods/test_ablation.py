"""Feature ablation against the definition, Captum, and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.tests.engine.zoo import feeds_of

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(2)
X = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
LABELS = (np.arange(16)[:, None] // 5 * 4 + np.arange(16) // 4).astype(np.int64)


def scores(model: onnx.ModelProto, x: np.ndarray, target: int) -> np.ndarray:
    return onnxray.activations(model, x, "logits")["logits"][:, target]


@pytest.mark.parametrize("fill", ["zero", "mean", "noise", 1.5])
def test_each_value_is_the_drop_of_the_score(cnn: onnx.ModelProto, fill: Any) -> None:
    from onnxray.engine.attribution.baselines import baseline
    from onnxray.engine.explain import problem_of

    found = onnxray.explain(cnn, X, "ablation", 2, segments=LABELS, fill=fill, seed=3)
    fills = baseline(problem_of(cnn, X), fill, 3)
    for e, x, other in zip(found, X, fills, strict=True):
        for segment in range(LABELS.max() + 1):
            hidden = np.where(segment == LABELS, other, x)[None]
            drop = scores(cnn, x[None], 2)[0] - scores(cnn, hidden, 2)[0]
            assert np.allclose(e.values[segment == LABELS], drop, atol=1e-5)
            assert e.details["weights"][segment] == pytest.approx(float(drop), abs=1e-5)


def test_captum_gives_the_same(parse: Parse) -> None:
    torch, captum = pytest.importorskip("torch"), pytest.importorskip("captum.attr")
    w = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    head = RNG.standard_normal((4, 3)).astype(np.float32)
    model = parse(
        """
        m (float[N, 3, 12, 10] x) => (float[N, 3] y)
        { a = Conv (x, w) b = Relu (a) c = GlobalAveragePool (b) d = Flatten (c) y = MatMul (d, head) }
        """,
        w=w,
        head=head,
    )

    def forward(x: Any) -> Any:
        return torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(w))).mean(dim=(2, 3)) @ torch.from_numpy(head)

    x = RNG.standard_normal((1, 3, 12, 10)).astype(np.float32)
    masks = RNG.integers(0, 9, (12, 10))
    judge = captum.FeatureAblation(forward)
    about = {
        "target": 1,
        "baselines": 0.3,
        "feature_mask": torch.from_numpy(np.broadcast_to(masks, (3, 12, 10)).copy()),
    }
    expected = judge.attribute(torch.from_numpy(x), **about).numpy()[0, 0]
    assert np.allclose(onnxray.explain(model, x, "ablation", 1, segments=masks, fill=0.3).values, expected, atol=1e-5)
    channels = RNG.integers(0, 9, (3, 12, 10))
    about["feature_mask"] = torch.from_numpy(channels)
    expected = judge.attribute(torch.from_numpy(x), **about).numpy()[0]
    e = onnxray.explain(model, x, "ablation", 1, segments=channels, fill=0.3)
    assert e.values.shape == (3, 12, 10)
    assert np.allclose(e.values, expected, atol=1e-5)


def test_masks_may_overlap_and_leave_gaps(parse: Parse) -> None:
    w = RNG.standard_normal((36, 1)).astype(np.float32)
    model = parse("m (float[N, 1, 6, 6] x) => (float[N, 1] y) { f = Flatten (x) y = MatMul (f, w) }", w=w)
    x = RNG.standard_normal((1, 1, 6, 6)).astype(np.float32)
    masks = np.zeros((3, 6, 6), bool)
    masks[0, :4, :4] = masks[1, 2:, 2:5] = masks[2, 0, 0] = True
    e = onnxray.explain(model, x, "ablation", 0, segments=masks, fill="zero")
    shares = w.reshape(6, 6) * x[0, 0]
    drops = np.array([shares[m].sum() for m in masks])
    assert np.allclose(e.details["weights"], drops, atol=1e-5)
    assert np.allclose(e.values, np.einsum("f,fhw->hw", drops, masks), atol=1e-5)
    assert not e.values[~masks.any(axis=0)].any()


def test_every_element_of_a_table_is_a_feature(parse: Parse) -> None:
    w = RNG.standard_normal((7, 2)).astype(np.float32)
    model = parse("m (float[N, 7] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=w)
    x = RNG.standard_normal((3, 7)).astype(np.float32)
    found = onnxray.explain(model, x, "ablation", "top:2")
    assert found.values.shape == (6, 7)
    for e, row in zip(found, np.repeat(x, 2, axis=0), strict=True):
        assert np.allclose(e.values, row * w[:, e.target.class_index], atol=1e-5)


def test_segments_in_pixels_of_the_image_are_brought_to_the_models_input(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn, size=16, mean=[120, 110, 100], std=[50, 60, 70], resize="letterbox")
    image = RNG.integers(0, 256, (40, 80, 3), np.uint8)
    labels = np.zeros((40, 80), int)
    labels[:, 40:] = 5
    e = onnxray.explain(model, image, "ablation", 1, segments=labels)
    assert e.details["names"] == (0, 5)
    placed = e.details["segments"]
    assert (placed[:4] == -1).all()  # the padding belongs to no segment
    assert (placed[12:] == -1).all()
    assert (placed[4:12, :8] == 0).all()
    assert (placed[4:12, 8:] == 1).all()
    masks = np.stack([labels == 0, labels == 5])
    assert np.array_equal(onnxray.explain(model, image, "ablation", 1, segments=masks).values, e.values)
    assert e.heatmap.shape == (40, 80)


@pytest.mark.parametrize(
    "case",
    """s_random_forest_op17 s_knn_op13 s_pipeline_scaler_mlp_op17 t_if_op17 t_loop_op17 t_textcnn_op13 t_fp64_op17
    t_fp16_cnn_op17 t_uint8_nhwc_op17 t_int8_nchw_op13 t_multimodal_op17 k_gru_text_op13 k_cnn_op17 t_ts_transformer_op14
    t_plaincnn_b1_op11 q_qdq_t_resnet_basic_op17""".split(),
)
@pytest.mark.parametrize("name", ["ablation", "lime", "kernel-shap", "sobol"])
def test_any_model_that_runs_can_be_explained(zoo: Path, case: str, name: str) -> None:
    folder = zoo / "frameworks" / case
    x = feeds_of(folder)
    quick: dict[str, dict[str, Any]] = {
        "lime": {"samples": 40},
        "kernel-shap": {"samples": 150},
        "sobol": {"designs": 2},
    }
    found = onnxray.explain(folder / "model.onnx", x, name, **quick.get(name, {}))
    for e in found:
        assert np.isfinite(e.values).all()
        assert e.values.any()
        if name == "kernel-shap":
            assert abs(e.details["completeness_error"]) < 1e-9 * max(1, abs(e.score))


def test_texts_can_be_hidden(parse: Parse) -> None:
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
        m (string[N, 3] words) => (float[N, 1] y)
        {
          known = ai.onnx.ml.LabelEncoder <keys_strings = ["good", "bad"], values_floats = [2.0, -1.0], default_float = 0.0> (words)
          y = ReduceSum <keepdims = 1> (known, axes)
        }
        """,
        axes=np.array([1], np.int64),
    )
    e = onnxray.explain(model, np.array([["good", "very", "bad"]]), "ablation", 0)
    assert e.values.tolist() == [2, 0, -1]
    with pytest.raises(onnxray.OnnxrayError, match="is of numbers"):
        onnxray.explain(model, np.array([["good", "very", "bad"]]), "ablation", 0, fill="noise")
