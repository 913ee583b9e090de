"""SmoothGrad squared, against the mean of squares written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

import onnxray

X = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


def test_it_is_the_mean_square_of_gradients_at_noisy_copies(cnn: onnx.ModelProto, noisy_gradients: Any) -> None:
    expected = (noisy_gradients(cnn, X, 2, 6, 0.2, 0) ** 2).mean(axis=0)
    e = onnxray.explain(cnn, X, "smoothgrad-squared", 2, samples=6, noise=0.2)
    assert np.allclose(e.values, expected, atol=1e-5 * expected.max())
    assert (e.values >= 0).all()
    assert e.range[0] == 0
