"""Attention rollout: Abnar & Zuidema 2020 written out slowly, and what it must be on any transformer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError
from onnxray.engine.methods.registry import find
from onnxray.tests.engine.methods.random_weights import kept_by_random_weights
from onnxray.tests.engine.zoo import feeds_of

FORMS = (
    "plain",
    "cast, dropped out, masked",
    "batch and heads in one axis",
    "softmax apart, product in one axis",
    "queries before heads",
    "Einsum",
    "Einsum, keys first",
    "com.microsoft.MultiHeadAttention",
    "com.microsoft.Attention",
    "Attention",
)
X = np.random.default_rng(8).standard_normal((3, 2, 4, 6)).astype(np.float32)
Make = Callable[..., Any]
METHOD = "attention-rollout"


def textbook(maps: list[np.ndarray], fuse: Callable[..., Any] = np.mean, residual: float = 0.5) -> np.ndarray:
    """Section 3 of the paper: all layers' mixing matrices, multiplied one after the other; (T, T)."""
    rollout = np.eye(len(maps[0][0]))
    for heads in maps:
        fused = fuse(heads, axis=0)
        fused = fused / fused.sum(axis=1, keepdims=True)
        rollout = (residual * np.eye(len(fused)) + (1 - residual) * fused) @ rollout
    return rollout


@pytest.mark.parametrize("pool", ["class", "mean", "patches"])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_the_paper_says(form: str, pool: str, transformer: Make) -> None:
    network = transformer(form, pool)
    scores, maps = network.run(X[0])
    e = onnxray.explain(network.proto, X[:1], "attention-rollout")
    assert np.allclose(e.scores, scores, atol=1e-4)
    assert e.values.shape == (2, 3)
    assert np.allclose(e.values.ravel(), (network.read() @ textbook(maps))[1:], atol=1e-5)
    assert e.heatmap.shape == (4, 6)
    assert e.layer is None
    assert "2 attention layers" in str(e.reason)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_batch_and_several_targets(form: str, batch: str | int, transformer: Make) -> None:
    network = transformer(form, batch=batch)
    found = onnxray.explain(network.proto, X, "attention-rollout", "top:2")
    assert len(found) == 6
    for row, e in enumerate(found):
        expected = textbook(network.run(X[row // 2])[1])[0, 1:]
        assert np.allclose(e.values.ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("residual", [0.0, 0.3, 1.0])
def test_heads_and_residual(fusion: str, residual: float, transformer: Make) -> None:
    network = transformer()
    expected = textbook(network.run(X[0])[1], getattr(np, fusion), residual)
    e = onnxray.explain(network.proto, X[:1], "attention-rollout", heads=fusion, residual=residual, token=3)
    assert np.allclose(e.values.ravel(), expected[3, 1:], atol=1e-5)
    assert "token 3, as given" in str(e.reason)
    if residual == 1:
        assert np.array_equal(e.values.ravel(), np.eye(7, dtype=np.float32)[3, 1:])


def test_small_weights_can_be_dropped(transformer: Make) -> None:
    network = transformer()
    maps = []
    for heads in network.run(X[0])[1]:
        fused = heads.mean(axis=0)
        for row in fused:
            row[np.argsort(row)[:3]] = 0  # floor(0.5 * 7) of the weights
        maps.append(fused[None])
    e = onnxray.explain(network.proto, X[:1], "attention-rollout", discard=0.5)
    assert np.allclose(e.values.ravel(), textbook(maps)[0, 1:], atol=1e-5)
    hardest = onnxray.explain(network.proto, X[:1], "attention-rollout", discard=1, residual=0)
    assert hardest.values.max() in (0, 1)  # every token passes on one other


def test_the_layer_to_start_at(transformer: Make) -> None:
    network = transformer()
    maps = network.run(X[0])[1]
    e = onnxray.explain(network.proto, X[:1], "attention-rollout", start=1)
    assert np.allclose(e.values.ravel(), textbook(maps[1:])[0, 1:], atol=1e-5)
    with pytest.raises(MethodError, match=r"start=2, but there are 2 attention layers: give at most 1"):
        onnxray.explain(network.proto, X[:1], "attention-rollout", start=2)
    with pytest.raises(MethodError, match="token=7, but there are 7 tokens"):
        onnxray.explain(network.proto, X[:1], "attention-rollout", token=7)


def test_what_every_token_takes_adds_up_to_one(zoo: Path) -> None:
    """Over a model of sequences all tokens are shown."""
    case = zoo / "frameworks" / "hf_distilbert_op17"
    feeds = feeds_of(case)
    found = onnxray.explain(onnxray.load(case / "model.onnx"), feeds, "attention-rollout")
    for e, mask in zip(found, feeds["attention_mask"], strict=True):
        assert e.values.shape == (feeds["input_ids"].shape[1],)
        assert e.values.sum() == pytest.approx(1, abs=1e-5)
        assert (e.values >= 0).all()
        assert (e.values[mask == 0] < 1e-6).all()
        assert e.heatmap.shape == (1, len(mask))


@pytest.mark.parametrize(
    ("case", "shape", "read"),
    [
        ("hf_vit_op17", (4, 4), "token 0, which the answer reads"),
        ("hf_vit_dynamo_op18", (4, 4), "token 0, which the answer reads"),
        ("o_ortext_hf_vit_op17", (4, 4), "token 0, which the answer reads"),
        ("hf_beit_op17", (4, 4), "the mean over 16 tokens"),
        ("k_transformer_op17", (4, 4), "the mean over 16 tokens"),
        ("j_vit_op20", (4, 4), "the mean over 16 tokens"),
        ("t_ts_transformer_op14", (10,), "the mean over 10 tokens"),
        ("o_ortext_hf_distilbert_op17", (12,), "token 0, which the answer reads"),
        ("q_dyn_hf_distilbert_op17", (12,), "token 0, which the answer reads"),
    ],
)
def test_transformers_of_many_frameworks(case: str, shape: tuple[int, ...], read: str, zoo: Path) -> None:
    folder = zoo / "frameworks" / case
    feeds = feeds_of(folder)
    for e in onnxray.explain(onnxray.load(folder / "model.onnx"), feeds, "attention-rollout"):
        assert e.values.shape == shape
        assert (e.values >= 0).all()
        assert (e.values > 0).sum() >= 10  # padding gets nothing
        assert e.values.sum() <= 1 + 1e-5
        assert read in str(e.reason)


def test_the_token_of_a_detection(zoo: Path) -> None:
    """Every box of YOLOS has a token of its own, after the patches."""
    folder = zoo / "frameworks" / "hf_yolos_op17"
    with np.load(folder / "io.npz") as io:
        x = io["in:pixel_values"]
    model = onnxray.load(folder / "model.onnx")
    one, other = (onnxray.explain(model, x, "attention-rollout", f"element:logits:{box},1") for box in (2, 4))
    assert "token 27, which" in str(one.reason)
    assert "token 29, which" in str(other.reason)
    assert one.values.shape == (4, 6)
    assert not np.allclose(one.values, other.values)


def test_models_without_attention_are_told_what_to_do(cnn: onnx.ModelProto, zoo: Path) -> None:
    with pytest.raises(MethodError, match=r"no Softmax weighs tokens: use grad-cam"):
        onnxray.explain(cnn, np.zeros((1, 3, 16, 16), np.float32), "attention-rollout")
    for case, words in (
        ("hf_swin_op17", r"layers.0/blocks.0.*stays inside windows"),
        ("o_slim_hf_swin_op17", "stays inside windows"),
    ):
        with pytest.raises(MethodError, match=words):
            onnxray.explain(
                onnxray.load(zoo / "frameworks" / case / "model.onnx"),
                np.zeros((1, 3, 32, 32), np.float32),
                "attention-rollout",
            )
    with pytest.raises(MethodError, match=r"16 keys for 256 queries"):
        onnxray.explain(
            onnxray.load(zoo / "frameworks" / "hf_segformer_op13" / "model.onnx"),
            np.zeros((1, 3, 64, 64), np.float32),
            "attention-rollout",
            "region:1",
        )


def test_it_largely_survives_random_weights_in_the_upper_layers(zoo: Path) -> None:
    """As the documentation says of it (`randomisation`), measured as for the other methods; Grad-CAM's maps change."""
    assert find(METHOD).randomisation == "fails"
    assert kept_by_random_weights(zoo, METHOD) > 0.8
    assert kept_by_random_weights(zoo, "grad-cam") < 0.7
