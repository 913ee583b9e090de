"""Judge: interpolation written point by point in float64, from the description in the ONNX standard."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onnx import helper


def model_of(node, feeds, dynamic, opset=20):
    inputs = []
    for name, array in feeds.items():
        shape = [f"{name}{i}" for i in range(array.ndim)] if dynamic else list(array.shape)
        shape[0] = "N" if dynamic else shape[0]
        shape[-1] = array.shape[-1] if name == "grid" else shape[-1]
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    elem = helper.np_dtype_to_tensor_dtype(feeds["x"].dtype)
    output = helper.make_tensor_value_info("y", elem, [None] * feeds["x"].ndim)
    graph = helper.make_graph([node], "one", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def reflect(p, size, aligned):
    low, high = (0, size - 1) if aligned else (-0.5, size - 0.5)
    if high == low:
        return low
    turned = (p - low) % (2 * (high - low))
    return low + min(turned, 2 * (high - low) - turned)


def cubic(t, a=-0.75):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def taps(p, size, mode, padding, aligned):
    """[(index or None, weight)] of a position along one axis."""
    if mode != "cubic" and padding == "border":
        p = min(max(p, 0), size - 1)
    elif mode != "cubic" and padding == "reflection":
        p = min(max(reflect(p, size, aligned), 0), size - 1)
    low = int(np.floor(p))
    if mode == "nearest":
        found = [(int(np.round(p)), 1.0)]
    elif mode == "linear":
        found = [(low, 1 - (p - low)), (low + 1, p - low)]
    else:
        found = [(low + k, cubic(p - low - k)) for k in (-1, 0, 1, 2)]
    result = []
    for index, weight in found:
        if padding == "reflection":
            index = round(reflect(index, size, aligned))
        if padding != "zeros":
            index = min(max(index, 0), size - 1)
        result.append((index if 0 <= index < size else None, weight))
    return result


def sample(x, grid, mode, padding, aligned):
    spatial = x.ndim - 2
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(*grid.shape[:-1]):
        axes = []
        for axis in range(spatial):
            size, g = x.shape[2 + axis], grid[(*at, spatial - 1 - axis)]
            p = (g + 1) / 2 * (size - 1) if aligned else ((g + 1) * size - 1) / 2
            axes.append(taps(p, size, mode, padding, aligned))
        for chosen in itertools.product(*axes):
            if all(index is not None for index, _ in chosen):
                weight = np.prod([w for _, w in chosen])
                y[(at[0], slice(None), *at[1:])] += weight * x[(at[0], slice(None), *[i for i, _ in chosen])]
    return y


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("linear", (2, 3, 4, 5)),
        ("cubic", (2, 3, 4, 5)),
        ("nearest", (2, 3, 4, 5)),
        ("linear", (1, 2, 3, 4, 5)),
        ("nearest", (1, 2, 3, 4, 5)),
        ("linear", (1, 1, 1, 2)),
    ],
)
def test_grid_sample(mode, shape, padding, aligned, dynamic, check_gradient):
    rng = np.random.default_rng(0)
    spatial = len(shape) - 2
    feeds = {
        "x": rng.standard_normal(shape).astype(np.float32),
        "grid": rng.uniform(-1.8, 1.8, (shape[0], *[3, 4, 2][:spatial], spatial)).astype(np.float32),
    }
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=aligned)
    check_gradient(
        model_of(node, feeds, dynamic),
        feeds,
        forward=lambda at: [sample(at["x"], at["grid"], mode, padding, aligned)],
    )


def test_many_samples_of_one_place_are_all_added(check_gradient):
    """Enough of them that a scatter on several threads would lose some."""
    feeds = {
        "x": np.random.default_rng(0).standard_normal((1, 2, 3, 3)).astype(np.float32),
        "grid": np.zeros((1, 100, 100, 2), np.float32) + 0.1,
    }
    node = helper.make_node("GridSample", ["x", "grid"], ["y"])

    def forward(at):
        return [sample(at["x"], at["grid"][:, :1, :1], "linear", "zeros", 0).repeat(100, 2).repeat(100, 3)]

    check_gradient(model_of(node, feeds, False), feeds, wrt=["x"], forward=forward)


def test_names_of_opset_16_and_half_precision(check_gradient):
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((1, 2, 4, 4)).astype(np.float16),
        "grid": rng.uniform(-0.9, 0.9, (1, 3, 3, 2)).astype(np.float16),
    }
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode="bilinear")
    check_gradient(
        model_of(node, feeds, False, opset=16),
        feeds,
        forward=lambda at: [sample(at["x"], at["grid"], "linear", "zeros", 0)],
    )
