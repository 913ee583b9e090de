"""Input times gradient: shares of the score of a network without biases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray


def test_without_biases_the_shares_add_up_to_the_score(parse: Callable[..., onnx.ModelProto]) -> None:
    rng = np.random.default_rng(0)
    model = parse(
        """
        m (float[N, 3, 8, 8] image) => (float[N, 4] y)
        {
          a = Conv <pads = [1, 1, 1, 1]> (image, w1)
          b = Relu (a)
          c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
          d = Flatten (c)
          y = MatMul (d, w2)
        }
        """,
        w1=rng.standard_normal((5, 3, 3, 3)).astype(np.float32),
        w2=rng.standard_normal((80, 4)).astype(np.float32),
    )
    x = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
    for part in onnxray.explain(model, x, "input-x-gradient", "top:4"):
        assert part.values.sum() == pytest.approx(part.score, rel=1e-4)
        assert part.heatmap.sum() == pytest.approx(part.score, rel=1e-4)


def test_it_is_what_its_name_says(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    gradient = onnxray.explain(cnn, x, "gradient", 1).values
    assert np.array_equal(onnxray.explain(cnn, x, "input-x-gradient", 1).values, gradient * x[0])
