"""Judges: deformable convolution tap by tap in float64; ONNX's reference evaluator for Col2Im."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxray.tests.engine.gradients import graphs

model_of = functools.partial(graphs.model_of, opset=19, symbolic=("x", "offset", "mask"))


def read(image, y, x):
    """Bilinear, zero outside: image (C, H, W) at arrays of positions."""
    total = 0
    for row, column in itertools.product((np.floor(y), np.floor(y) + 1), (np.floor(x), np.floor(x) + 1)):
        weight = (1 - np.abs(y - row)) * (1 - np.abs(x - column))
        inside = (row >= 0) & (row < image.shape[1]) & (column >= 0) & (column < image.shape[2])
        r, c = (np.where(inside, v, 0).astype(int) for v in (row, column))
        total = total + image[:, r, c] * (weight * inside)
    return total


def deform_conv(x, w, offset, b, mask, strides, pads, dilations, group, offset_group):
    n, c = x.shape[:2]
    m, inside, kh, kw = w.shape
    height, width = offset.shape[2:]
    moves = offset.reshape(n, offset_group, kh, kw, 2, height, width)
    scale = np.ones((n, offset_group, kh, kw, height, width)) if mask is None else mask
    scale = scale.reshape(n, offset_group, kh, kw, height, width)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    y = np.zeros((n, m, height, width))
    for s, o, i, j in itertools.product(range(n), range(c), range(kh), range(kw)):
        og = o // (c // offset_group)
        at_y = rows * strides[0] - pads[0] + i * dilations[0] + moves[s, og, i, j, 0]
        at_x = columns * strides[1] - pads[1] + j * dilations[1] + moves[s, og, i, j, 1]
        values = read(x[s, o : o + 1], at_y, at_x)[0] * scale[s, og, i, j]
        g = o // inside
        for k in range(g * (m // group), (g + 1) * (m // group)):
            y[s, k] += w[k, o % inside, i, j] * values
    return y if b is None else y + b.reshape(-1, 1, 1)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    ("strides", "pads", "dilations", "group", "offset_group", "masked"),
    [
        ([1, 1], [0, 0, 0, 0], [1, 1], 1, 1, False),
        ([1, 1], [1, 1, 1, 1], [1, 1], 1, 2, True),
        ([2, 1], [1, 0, 2, 1], [1, 2], 2, 1, True),
        ([2, 2], [1, 1, 1, 1], [2, 1], 2, 4, True),
    ],
)
def test_deform_conv(strides, pads, dilations, group, offset_group, masked, dynamic, check_gradient):
    rng = np.random.default_rng(0)
    kernel, size = (3, 2), (6, 7)
    out = [(size[i] + pads[i] + pads[i + 2] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(2)]
    taps = offset_group * kernel[0] * kernel[1]
    feeds = {
        "x": rng.standard_normal((2, 4, *size)),
        "w": rng.standard_normal((6, 4 // group, *kernel)),
        "offset": rng.uniform(-1.5, 1.5, (2, 2 * taps, *out)),
        "b": rng.standard_normal(6),
    }
    if masked:
        feeds["mask"] = rng.uniform(0, 1, (2, taps, *out))
    feeds = {k: v.astype(np.float32) for k, v in feeds.items()}
    attributes = {"strides": strides, "pads": pads, "dilations": dilations}
    node = helper.make_node("DeformConv", list(feeds), ["y"], group=group, offset_group=offset_group, **attributes)

    def forward(at):
        inputs = (at["x"], at["w"], at["offset"], at["b"], at.get("mask"))
        return [deform_conv(*inputs, strides, pads, dilations, group, offset_group)]

    check_gradient(model_of(node, feeds, dynamic), feeds, forward=forward)


def test_deform_conv_of_the_weights_only(check_gradient):
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((1, 2, 5, 5)).astype(np.float32),
        "w": rng.standard_normal((2, 2, 2, 2)).astype(np.float32),
        "offset": rng.uniform(-1, 1, (1, 8, 4, 4)).astype(np.float32),
    }
    node = helper.make_node("DeformConv", list(feeds), ["y"])

    def forward(at):
        return [deform_conv(at["x"], at["w"], at["offset"], None, None, [1, 1], [0] * 4, [1, 1], 1, 1)]

    gradient = check_gradient(model_of(node, feeds), feeds, wrt=["w"], forward=forward)
    assert "ScatterElements" not in [n.op_type for n in gradient.graph.node]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ([5, 6], [2, 3], {}),
        ([5, 5], [3, 3], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ([6, 6], [2, 2], {"dilations": [2, 3]}),
        ([4, 5, 3], [1, 2, 2], {"strides": [1, 2, 1]}),
    ],
)
def test_col2im(image, block, attributes, constant, check_gradient):
    rng = np.random.default_rng(0)
    count = len(image)
    strides, dilations = (attributes.get(k, [1] * count) for k in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * 2 * count)
    blocks = [
        (n + pads[i] + pads[i + count] - (block[i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i, n in enumerate(image)
    ]
    x = rng.standard_normal((2, 3 * int(np.prod(block)), int(np.prod(blocks)))).astype(np.float32)
    shapes = {"image": np.array(image), "block": np.array(block)}
    feeds = {"x": x}
    node = helper.make_node("Col2Im", ["x", "image", "block"], ["y"], **attributes)
    model = model_of(node, {"x": x} if constant else {"x": x, **shapes})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [None] * (2 + count)))
    if constant:
        model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in shapes.items())
    else:
        feeds.update(shapes)
    check_gradient(model, feeds)
