"""Guided Grad-CAM: guided backpropagation where Grad-CAM is positive."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.kernels.upsample import upsample
from onnxray.tests.engine.zoo import feeds_of
from onnxray.tests.rounding import ROUNDING, apart


def test_it_is_the_product(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    both = onnxray.explain(cnn, x, "guided-grad-cam", 2)
    for row in range(2):
        guided = onnxray.explain(cnn, x[row : row + 1], "guided-backprop", 2).values
        cam = np.maximum(onnxray.explain(cnn, x[row : row + 1], "grad-cam", 2).values, 0)
        assert np.allclose(both[row].values, guided * upsample(cam, (16, 16)), atol=1e-5)
    assert both[0].layer == "features"


def test_channels_last(zoo: Any) -> None:
    folder = zoo / "frameworks" / "t_uint8_nhwc_op17"
    x = next(iter(feeds_of(folder).values()))
    both = onnxray.explain(folder / "model.onnx", x, "guided-grad-cam", 1).values
    guided = onnxray.explain(folder / "model.onnx", x, "guided-backprop", 1).values
    cam = np.maximum(onnxray.explain(folder / "model.onnx", x, "grad-cam", 1).values, 0)
    assert apart(both, guided * upsample(cam, (40, 44))[..., None]) <= ROUNDING


def test_it_needs_an_image(parse: Any) -> None:
    model = parse("m (float[N, 7] x) => (float[N, 7] y) { y = Relu (x) }")
    with pytest.raises(onnxray.OnnxrayError, match="needs an image"):
        onnxray.explain(model, np.ones((1, 7), np.float32), "guided-grad-cam")
