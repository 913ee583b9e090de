"""The rule of deconvnet, against torch with its rectifiers replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.tests.engine.methods.rectifiers import CASES, cotangent_of, two_layers
from onnxray.tests.rounding import ROUNDING, apart


@pytest.mark.parametrize("case", CASES)
def test_it_matches_torch(load_reference: Any, difference: Any, case: str) -> None:
    reference = load_reference(case)
    e = onnxray.explain(reference.model, reference.x, "deconvnet", cotangent_of(reference))
    expected = reference.arrays[f"deconvnet:{reference.input}"]
    assert difference(np.asarray(e.values).reshape(expected.shape), expected) < reference.meta["tolerance"]["grad_rel"]


def test_signals_are_rectified_and_what_the_unit_saw_is_not_asked(parse: Callable[..., onnx.ModelProto]) -> None:
    model, w1, w2 = two_layers(parse)
    x = np.random.default_rng(1).standard_normal((1, 6)).astype(np.float32)
    expected = w1 @ np.maximum(w2[:, 1], 0)
    assert apart(onnxray.explain(model, x, "deconvnet", 1).values, expected) <= ROUNDING


def test_a_unit_of_any_layer_is_projected_to_the_pixels_it_sees(cnn: onnx.ModelProto) -> None:
    """The strongest activation of a layer: only the pixels of its receptive field get anything."""
    x = np.random.default_rng(2).standard_normal((1, 3, 16, 16)).astype(np.float32)
    e = onnxray.explain(cnn, x, "deconvnet", "unit:features:strongest,strongest")
    features = onnxray.activations(cnn, x, "features")["features"][0]
    channel, row, column = np.unravel_index(features.argmax(), features.shape)
    assert str(e.target) == f"unit:features:{channel},{row},{column}"
    assert e.score == pytest.approx(float(features.max()))
    seen = np.argwhere(np.abs(e.values).max(axis=0) > 0)
    assert len(seen)
    # Conv 3, pool 2, conv 3: 8 pixels around twice the place.
    assert seen.min(axis=0)[0] >= 2 * row - 3
    assert seen.max(axis=0)[0] <= 2 * row + 4
    assert seen.min(axis=0)[1] >= 2 * column - 3
    assert seen.max(axis=0)[1] <= 2 * column + 4


def test_the_projection_is_that_of_transposed_filters_and_unpooling(parse: Callable[..., onnx.ModelProto]) -> None:
    """One convolution, one ReLU, one pool: written out as the paper's unpool, rectify, filter."""
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal((2, 1, 3, 3)).astype(np.float32)
    model = parse(
        "m (float[1, 1, 6, 6] image) => (float[1, 2, 2, 2] y) "
        "{ a = Conv (image, w) b = Relu (a) y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b) }",
        w=kernel,
    )
    x = rng.standard_normal((1, 1, 6, 6)).astype(np.float32)
    rectified = onnxray.activations(model, x, "b")["b"][0]
    channel, row, column = 1, 1, 0
    window = rectified[channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    y, z = np.unravel_index(window.argmax(), (2, 2))
    expected = np.zeros((6, 6), np.float32)
    top, left = 2 * row + y, 2 * column + z
    expected[top : top + 3, left : left + 3] = kernel[channel, 0]
    e = onnxray.explain(model, x, "deconvnet", f"unit:y:{channel},{row},{column}")
    assert np.allclose(e.values[0], expected)
