"""Chefer et al. (ICCV 2021), equations 5 and 6, with gradients by central differences, one number at a time."""

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
from onnxray.tests.rounding import ROUNDING, apart

X = np.random.default_rng(9).standard_normal((2, 2, 4, 6)).astype(np.float32)
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
Make = Callable[..., Any]
METHOD = "gradient-x-attention"


def textbook(network: Any, x: np.ndarray, target: int) -> np.ndarray:
    """(T,): what the head reads of R - I."""
    maps, slopes = network.run(x)[1], network.slopes(x, target)
    relevance = np.eye(len(maps[0][0]))
    for heads, slope in zip(maps, slopes, strict=True):
        relevance = relevance + np.maximum(heads * slope, 0).mean(axis=0) @ relevance
    return np.asarray(network.read() @ (relevance - np.eye(len(relevance))))


@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_the_paper_says(form: str, transformer: Make) -> None:
    network = transformer(form)
    found = onnxray.explain(network.proto, X, "gradient-x-attention", onnxray.Target.several([0, 2]))
    for row, e in enumerate(found):
        expected = textbook(network, X[row // 2], (0, 2)[row % 2])[1:]
        assert e.values.shape == (2, 3)
        assert expected.max() > 1e-3
        assert np.allclose(e.values.ravel(), expected, atol=2e-4 * expected.max())
    assert not np.allclose(found[0].values, found[1].values, rtol=0.1)


@pytest.mark.parametrize("pool", ["mean", "patches"])
def test_the_mean_over_tokens(pool: str, transformer: Make) -> None:
    network = transformer(pool=pool)
    e = onnxray.explain(network.proto, X[:1], "gradient-x-attention", 1)
    expected = textbook(network, X[0], 1)[1:]
    assert np.allclose(e.values.ravel(), expected, atol=2e-4 * expected.max())


def test_from_a_later_layer_on(transformer: Make) -> None:
    network = transformer()
    maps, slopes = network.run(X[0])[1], network.slopes(X[0], 1)
    expected = np.maximum(maps[1] * slopes[1], 0).mean(axis=0)[0, 1:]
    e = onnxray.explain(network.proto, X[:1], "gradient-x-attention", 1, start=1)
    assert np.allclose(e.values.ravel(), expected, atol=2e-4 * expected.max())


def test_a_head_of_zeros_gives_a_zero_map(transformer: Make) -> None:
    proto = transformer().proto
    for tensor in proto.graph.initializer:
        if tensor.name == "head":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((6, 3), np.float32), "head"))
    e = onnxray.explain(proto, X[:1], "gradient-x-attention", 1)
    assert not e.values.any()
    assert any("zero everywhere" in w for w in e.warnings)


def test_classes_of_a_trained_network_differ(zoo: Path) -> None:
    model = onnxray.load(zoo / "models" / "vit_mnist.onnx")
    x = np.random.default_rng(0).standard_normal((1, 1, 28, 28)).astype(np.float32)
    first, second = onnxray.explain(model, x, "gradient-x-attention", "top:2")
    rollouts = onnxray.explain(model, x, "attention-rollout", "top:2")
    assert np.corrcoef(first.values.ravel(), second.values.ravel())[0, 1] < 0.99
    assert apart(rollouts[0].values, rollouts[1].values) <= ROUNDING


def test_models_without_attention_are_told_what_to_do(cnn: onnx.ModelProto) -> None:
    with pytest.raises(MethodError, match=r"gradient-x-attention needs attention maps"):
        onnxray.explain(cnn, np.zeros((1, 3, 16, 16), np.float32), "gradient-x-attention")


def test_it_largely_survives_random_weights_in_the_upper_layers(zoo: Path) -> None:
    """As the documentation says of it (`randomisation`), measured as for the other methods; Grad-CAM's maps change."""
    assert find(METHOD).randomisation == "fails"
    assert kept_by_random_weights(zoo, METHOD) > 0.8
    assert kept_by_random_weights(zoo, "grad-cam") < 0.7
