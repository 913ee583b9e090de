"""SmoothGrad, against the mean of gradients written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

import onnxray

X = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def test_it_is_the_mean_of_gradients_at_noisy_copies(cnn: onnx.ModelProto, noisy_gradients: Any) -> None:
    expected = noisy_gradients(cnn, X, 2, 7, 0.2, 5).mean(axis=0)
    got = onnxray.explain(cnn, X, "smoothgrad", 2, samples=7, noise=0.2, seed=5).values
    assert np.allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_the_class_is_that_of_the_clean_input(cnn: onnx.ModelProto) -> None:
    clean = onnxray.explain(cnn, X, "gradient").target
    e = onnxray.explain(cnn, X, "smoothgrad", samples=3, noise=5.0)
    assert e.target == clean
    fixed = onnxray.explain(cnn, X, "smoothgrad", e.target, samples=3, noise=5.0)
    assert np.array_equal(e.values, fixed.values)


def test_without_noise_it_is_the_gradient(cnn: onnx.ModelProto) -> None:
    gradient = onnxray.explain(cnn, X, "gradient", 1).values
    assert np.allclose(onnxray.explain(cnn, X, "smoothgrad", 1, noise=0, samples=3).values, gradient, atol=1e-6)


def test_the_seed_decides_and_the_batch_does_not(cnn: onnx.ModelProto) -> None:
    options = {"samples": 9, "batch": 4}
    first = onnxray.explain(cnn, X, "smoothgrad", 1, seed=1, **options).values
    assert np.array_equal(first, onnxray.explain(cnn, X, "smoothgrad", 1, seed=1, **options).values)
    assert np.allclose(first, onnxray.explain(cnn, X, "smoothgrad", 1, seed=1, samples=9, batch=1).values, atol=1e-5)
    other = onnxray.explain(cnn, X, "smoothgrad", 1, seed=2, **options).values
    assert np.abs(first - other).max() > 1e-3 * np.abs(first).max()


def test_more_samples_move_less(cnn: onnx.ModelProto) -> None:
    def distance(copies: int) -> float:
        a, b = (onnxray.explain(cnn, X, "smoothgrad", 1, seed=s, samples=copies, noise=0.3).values for s in (1, 2))
        return float(np.linalg.norm(a - b))

    assert distance(32) < 0.5 * distance(1)


def test_noise_that_is_kept_for_the_next_image_is_the_same(cnn: onnx.ModelProto, noisy_gradients: Any) -> None:
    options = {"samples": 40, "noise": 0.3, "seed": 11}
    onnxray.explain(cnn, X, "smoothgrad", 2, **options)
    other = X[:, :, ::-1].copy()
    expected = noisy_gradients(cnn, other, 2, 40, 0.3, 11).mean(axis=0)
    got = onnxray.explain(cnn, other, "smoothgrad", 2, **options).values
    assert np.allclose(got, expected, atol=1e-5 * np.abs(expected).max())
