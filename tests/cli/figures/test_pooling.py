"""The figure of a pooling layer: its windows are those of the operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.figures import pooling
from onnxray.cli.figures.layer_view import view_of
from onnxray.cli.figures.layers import Photo
from onnxray.engine.preprocess.geometry import Geometry

Parse = Callable[..., onnx.ModelProto]
PHOTO = Photo("photo.png", np.zeros((12, 12, 3), np.uint8), Geometry((12, 12), (12, 12), (12, 12), (0, 0)))


@pytest.mark.parametrize(
    ("operator", "kind", "kernel", "stride", "pads"),
    [
        ("MaxPool", "maximum", (2, 2), (2, 2), (0, 0)),
        ("MaxPool", "maximum", (3, 3), (2, 2), (1, 1)),
        ("AveragePool", "mean", (3, 2), (1, 2), (0, 0)),
    ],
)
def test_each_number_after_is_that_of_its_window(
    parse: Parse,
    operator: str,
    kind: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int],
) -> None:
    attributes = f"kernel_shape = {list(kernel)}, strides = {list(stride)}, pads = {[*pads, *pads]}"
    text = f"m (float[N, 2, 12, 12] x) => (float[N, 2, P, Q] y) {{ h = Neg (x)  y = {operator} <{attributes}> (h) }}"
    model = onnxray.load(parse(text))
    layer = model.layers[-1]
    pool = pooling.pool_of(model, layer)
    assert pool == pooling.Pool("h", kind, kernel, stride, (-pads[0], -pads[1]))
    assert pooling.pool_of(model, model.layers[0]) is None
    x = np.random.default_rng(0).standard_normal((1, 2, 12, 12)).astype(np.float32)
    values = onnxray.activations(model, x, ["h", "y"])
    before, after = values["h"][0, 0], values["y"][0, 0]
    first, count = pooling._part(pool, (before, after))
    y0, x0, y1, x1 = pooling._cells_before(pool, first, count)
    assert 0 <= y0 < y1 <= 12
    assert 0 <= x0 < x1 <= 12
    for i in range(count[0]):
        for j in range(count[1]):
            top, left = y0 + i * stride[0], x0 + j * stride[1]
            window = before[top : top + kernel[0], left : left + kernel[1]]
            expected = window.max() if kind == "maximum" else window.mean()
            assert after[first[0] + i, first[1] + j] == pytest.approx(float(expected), abs=1e-6)
    views = [view_of(model, replace(layer, output=name), values[name]) for name in ("h", "y")]
    picture = pooling.figure_of(pool, layer, PHOTO, *views)
    assert picture is not None
    assert picture.ndim == 3
    assert picture.shape[1] < 1000


def test_a_window_over_the_whole_map_is_one_number_per_channel(parse: Parse) -> None:
    model = onnxray.load(
        parse("m (float[N, 3, 6, 6] x) => (float[N, 3, 1, 1] y) { h = Neg (x)  y = GlobalAveragePool (h) }")
    )
    layer = model.layers[-1]
    pool = pooling.pool_of(model, layer)
    assert pool == pooling.Pool("h", "mean", (0, 0), (0, 0), (0, 0))
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    values = onnxray.activations(model, x, ["h", "y"])
    before = view_of(model, replace(layer, output="h", map_axes=(2, 3)), values["h"])
    picture = pooling.figure_of(pool, layer, PHOTO, before, view_of(model, layer, values["y"]))
    assert picture is not None
    assert picture.shape[0] > 300
    flat = view_of(model, replace(layer, map_axes=None), values["h"].reshape(1, 3, 36))
    assert pooling.figure_of(pool, layer, PHOTO, flat, flat) is None
