"""Judges: ONNX's reference evaluator for RoiAlign, the largest value of each bin written out for MaxRoiPool."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxray
from onnxray.engine.errors import Disconnected


def model_of(node, feeds, dynamic=False):
    inputs = []
    for name, array in feeds.items():
        shape = list(array.shape)
        if dynamic:
            shape = ["N", shape[1], "H", "W"] if name == "x" else ["R", *shape[1:]]
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph([node], "one", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def regions(rng):
    """Inside, over the border, outside, a point and one that is turned inside out."""
    corner = rng.uniform(0, 6, (6, 2))
    rois = np.concatenate([corner, corner + rng.uniform(0.5, 9, (6, 2))], axis=1)
    rois[1], rois[2], rois[3], rois[4] = [-3, -2, 5, 4], [40, 40, 50, 60], [3, 3, 3, 3], [6, 2, 3, 5]
    return rois.astype(np.float32)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(mode, transformation, ratio, dynamic, check_gradient):
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((2, 3, 7, 8)).astype(np.float32),
        "rois": regions(rng),
        "batch": np.array([0, 1, 1, 0, 1, 0]),
    }
    if transformation == "half_pixel" and not ratio:
        feeds["rois"][4] = [3, 2, 6, 5]  # ONNX Runtime refuses to take a negative number of samples
    attributes = {"mode": mode, "output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": 0.8}
    attributes["coordinate_transformation_mode"] = transformation
    node = helper.make_node("RoiAlign", list(feeds), ["y"], **attributes)
    check_gradient(model_of(node, feeds, dynamic), feeds, wrt=["x"])


def test_the_regions_have_no_gradient():
    feeds = {
        "x": np.zeros((1, 1, 4, 4), np.float32),
        "rois": np.zeros((1, 4), np.float32),
        "batch": np.zeros(1, np.int64),
    }
    node = helper.make_node("RoiAlign", list(feeds), ["y"])
    with pytest.raises(Disconnected, match="rois"):
        onnxray.vjp(model_of(node, feeds), of="y", wrt="rois")


def max_roi_pool(x, rois, pooled, scale):
    y = np.zeros((len(rois), x.shape[1], *pooled))
    for r, (image, *box) in enumerate(rois):
        left, top, right, bottom = (np.sign(v) * np.floor(abs(v) + 0.5) for v in np.float32(box) * np.float32(scale))
        spans = []
        for start, end, bins, size in ((top, bottom, pooled[0], x.shape[2]), (left, right, pooled[1], x.shape[3])):
            step = np.float32(max(end - start + 1, 1)) / np.float32(bins)
            edges = [(np.floor(k * step) + start, np.ceil((k + 1) * step) + start) for k in range(bins)]
            spans.append([[int(np.clip(e, 0, size)) for e in pair] for pair in edges])
        for (i, (a, b)), (j, (c, d)) in itertools.product(enumerate(spans[0]), enumerate(spans[1])):
            if a < b and c < d:
                y[r, :, i, j] = x[int(image), :, a:b, c:d].max((1, 2))
    return y


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_max_roi_pool(scale, dynamic, check_gradient):
    rng = np.random.default_rng(0)
    image = np.array([[0], [1], [1], [0], [1], [0]])
    feeds = {
        "x": rng.standard_normal((2, 3, 9, 8)).astype(np.float32),
        "rois": np.concatenate([image, regions(rng)], axis=1).astype(np.float32),
    }
    node = helper.make_node("MaxRoiPool", list(feeds), ["y"], pooled_shape=[2, 3], spatial_scale=scale)
    check_gradient(
        model_of(node, feeds, dynamic),
        feeds,
        wrt=["x"],
        forward=lambda at: [max_roi_pool(at["x"], feeds["rois"], (2, 3), scale)],
    )
