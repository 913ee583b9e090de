"""Graphs that scale pixels themselves, as Keras and exporters write it, and first layers that only look alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inspect.own_scaling import own_scaling
from onnxray.engine.preprocess import find_card, prepare

Parse = Callable[..., onnx.ModelProto]
MEAN, STD = "{123.675, 116.28, 103.53}", "{58.395, 57.12, 57.375}"


def model_of(parse: Parse, nodes: str, constants: str) -> onnxray.Model:
    text = f"g (float[n, 3, 8, 8] image) => (float[n, 3] y) <{constants}> {{ {nodes} g = GlobalAveragePool (s) y = Flatten (g) }}"
    return onnxray.load(parse(text))


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ("s = Mul (image, k)", "float k = {0.003921569}"),
        (
            "t = Transpose <perm = [0, 2, 3, 1]> (image) u = Mul (k, t) s = Transpose <perm = [0, 3, 1, 2]> (u)",
            "float k = {0.0078431}",
        ),
        ("s = Div (image, k)", "float k = {255}"),
        ("s = Sub (image, k)", f"float[3, 1, 1] k = {MEAN}"),
        ("s = Add (image, k)", "float[3, 1, 1] k = {-123.675, -116.28, -103.53}"),
        (
            "s = BatchNormalization (image, o, z, m, v)",
            f"float[3] o = {{1, 1, 1}}, float[3] z, float[3] m = {MEAN}, float[3] v = {STD}".replace(
                "float[3] z", "float[3] z = {0, 0, 0}"
            ),
        ),
    ],
)
def test_such_an_input_takes_pixels_as_they_are(parse: Parse, nodes: str, constants: str) -> None:
    model = model_of(parse, nodes, constants)
    assert own_scaling(model, "image")
    card = find_card(model)
    assert (card.mean, card.std) == ((0.0,) * 3, (1.0,) * 3)
    assert "the graph, which scales pixels itself" in card.source
    assert not any("normalised" in text for text in card.warnings)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(prepare(pixels, card).tensor[0], pixels.transpose(2, 0, 1).astype(np.float32))
    assert find_card(model, mean=1.0, std=2.0).std == (2.0,) * 3


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ("s = Mul (image, k)", "float k = {2}"),
        ("s = Sub (image, k)", "float[3, 1, 1] k = {0.485, 0.456, 0.406}"),
        ("s = Div (image, k)", "float[3, 1, 1] k = {0.229, 0.224, 0.225}"),
        ("s = Relu (image)", "float k = {0.003921569}"),
        ("r = Relu (image) s = Mul (r, k)", "float k = {0.003921569}"),
    ],
)
def test_other_inputs_do_not(parse: Parse, nodes: str, constants: str) -> None:
    model = model_of(parse, nodes, constants)
    assert own_scaling(model, "image") is None
    assert find_card(model).std[0] != 1.0
