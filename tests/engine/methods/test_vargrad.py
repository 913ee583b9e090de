"""VarGrad, against the variance written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

import onnxray

X = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def test_it_is_the_variance_of_gradients_at_noisy_copies(cnn: onnx.ModelProto, noisy_gradients: Any) -> None:
    expected = noisy_gradients(cnn, X, 2, 6, 0.2, 3).astype(np.float64).var(axis=0)
    e = onnxray.explain(cnn, X, "vargrad", 2, samples=6, noise=0.2, seed=3)
    assert np.allclose(e.values, expected, atol=1e-4 * expected.max())
    assert (e.values >= 0).all()


def test_without_noise_there_is_no_variance(cnn: onnx.ModelProto) -> None:
    assert np.abs(onnxray.explain(cnn, X, "vargrad", 2, samples=3, noise=0).values).max() < 1e-9
