"""Judges of Resize: ONNX's reference evaluator where ONNX Runtime computes the same, and the runtime itself always.

Resize is linear: sum(dy * Resize(v)) = sum(dx * v) for every v, which needs no differences.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

import onnxray.engine.inference.session

MODES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
]


def resize(shape, dynamic=False, roi=None, scales=None, sizes=None, opset=19, computed=False, **attributes):
    """A model of one Resize of x; `computed`: scales and sizes are inputs, not constants."""
    given = [f"D{i}" for i in range(len(shape))] if dynamic else list(shape)
    inputs = [helper.make_tensor_value_info("x", 1, given)]
    names, stored = ["x", "", "", ""], []
    for slot, name, values, dtype in (
        (1, "roi", roi, np.float32),
        (2, "scales", scales, np.float32),
        (3, "sizes", sizes, np.int64),
    ):
        if values is None:
            continue
        names[slot] = name
        array = np.array(values, dtype)
        if computed:
            inputs.append(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            )
        else:
            stored.append(onnx.numpy_helper.from_array(array, name))
    while not names[-1]:
        names.pop()
    node = helper.make_node("Resize", names, ["y"], **attributes)
    graph = helper.make_graph(
        [node], "one", inputs, [helper.make_tensor_value_info("y", 1, [None] * len(shape))], stored
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def check_transpose(model, x, extra=None):
    """The gradient is the transpose of what the runtime computes; returns the gradient model."""
    rng = np.random.default_rng(1)
    extra = extra or {}
    run = onnxray.engine.inference.session.run
    loaded = onnxray.load(model)
    y = run(loaded, {"x": x, **extra}, ["y"])["y"]
    dy = rng.standard_normal(y.shape).astype(np.float32)
    gradient = onnxray.vjp(model, of="y", wrt="x")
    onnx.checker.check_model(gradient.proto, full_check=True)
    dx = run(gradient, {"x": x, "cotangent/y": dy, **extra}, ["grad/x"])["grad/x"]
    assert dx.shape == x.shape
    offset = run(loaded, {"x": np.zeros_like(x), **extra}, ["y"])["y"]  # extrapolated values
    for _ in range(3):
        v = rng.standard_normal(x.shape).astype(np.float32)
        forward = float(np.sum(dy.astype(float) * (run(loaded, {"x": v, **extra}, ["y"])["y"] - offset)))
        assert abs(forward - float(np.sum(dx.astype(float) * v))) < 1e-4 * max(np.linalg.norm(dx), 1)
    return gradient.proto


def options():
    for transformation in MODES:
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            yield {"coordinate_transformation_mode": transformation, "mode": "nearest", "nearest_mode": rounding}
        # The standard does not say what an antialiased crop is.
        for mode, antialias in itertools.product(("linear", "cubic"), (0, transformation != "tf_crop_and_resize")):
            yield {"coordinate_transformation_mode": transformation, "mode": mode, "antialias": int(antialias)}
        for outside, a in ((0, -0.5), (1, -0.75)):
            more = {"mode": "cubic", "exclude_outside": outside, "cubic_coeff_a": a}
            yield {"coordinate_transformation_mode": transformation, **more}


@pytest.mark.parametrize("attributes", list(options()), ids=lambda a: "-".join(str(v) for v in a.values()))
def test_resize(attributes):
    """One axis up and one down, by sizes and by scales that are not the ratio of the sizes; one axis down to 1."""
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 6)).astype(np.float32)
    crop = attributes["coordinate_transformation_mode"] == "tf_crop_and_resize"
    roi = [0, 0, 0.1, -0.2, 1, 1, 0.8, 1.3] if crop else None
    check_transpose(resize(x.shape, False, roi, sizes=[2, 2, 9, 4], extrapolation_value=3.0, **attributes), x)
    check_transpose(resize(x.shape, False, roi, scales=[1, 1, 0.7, 1.6], **attributes), x)
    check_transpose(resize(x.shape, True, roi, scales=[1, 1, 2.3, 0.2], **attributes), x)


@pytest.mark.parametrize("attributes", list(options()), ids=lambda a: "-".join(str(v) for v in a.values()))
def test_resize_by_differences_of_the_reference(attributes, check_gradient):
    """Where the reference evaluator and the runtime agree; which has to be in most cases."""
    x = np.random.default_rng(0).standard_normal((1, 1, 5, 6)).astype(np.float32)
    crop = attributes["coordinate_transformation_mode"] == "tf_crop_and_resize"
    agreed = 0
    for scales in ([1, 1, 2, 3], [1, 1, 1.4, 1.5], [1, 1, 0.6, 0.5]):
        model = resize(x.shape, roi=[0, 0, 0.1, 0, 1, 1, 0.8, 0.9] if crop else None, scales=scales, **attributes)
        ours = onnxray.engine.inference.session.run(onnxray.load(model), {"x": x}, ["y"])["y"]
        theirs = ReferenceEvaluator(model).run(["y"], {"x": x})[0]
        if ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-4):
            agreed += 1
            check_gradient(model, {"x": x})
    assert agreed or crop


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_one_and_three_dimensions(mode, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    spatial = len(shape) - 2
    check_transpose(resize(shape, scales=[1, 1, *[1.5] * spatial], mode=mode), x)
    check_transpose(resize(shape, True, sizes=[*shape[:2], *[n * 2 for n in shape[2:]]], mode=mode), x)


def test_batch_and_channels_are_resized_too():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    check_transpose(resize(x.shape, scales=[2, 1.5, 0.5, 2], mode="nearest"), x)


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1], [2]])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_axes(axes, dynamic):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    numbers = [1.6, 2.2][: len(axes)]
    check_transpose(resize(x.shape, dynamic, scales=numbers, mode="linear", axes=axes), x)
    check_transpose(resize(x.shape, dynamic, sizes=[7, 3][: len(axes)], mode="linear", axes=axes), x)
    roi = [*[0.1] * len(axes), *[0.7] * len(axes)]
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear", "axes": axes}
    check_transpose(resize(x.shape, dynamic, roi, sizes=[7, 3][: len(axes)], **crop), x)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_the_aspect_ratio_is_kept(policy, mode, dynamic):
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 6)).astype(np.float32)
    for sizes in ([7, 8], [3, 3], [9, 9]):
        attributes = {"keep_aspect_ratio_policy": policy, "axes": [2, 3], "mode": mode}
        check_transpose(resize(x.shape, dynamic, sizes=sizes, **attributes), x)


def test_ratios_and_sizes_that_are_computed():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    scales = np.array([1, 1, 1.5, 2], np.float32)
    check_transpose(resize(x.shape, True, scales=scales, mode="linear", computed=True), x, {"scales": scales})
    sizes = np.array([2, 3, 9, 4], np.int64)
    check_transpose(resize(x.shape, True, sizes=sizes, mode="cubic", computed=True), x, {"sizes": sizes})


@pytest.mark.parametrize(
    ("transformation", "rounding", "pooled"),
    [
        ("asymmetric", "floor", True),
        ("half_pixel", "round_prefer_floor", True),
        ("half_pixel", "round_prefer_ceil", True),
        ("half_pixel", "floor", False),
        ("align_corners", "round_prefer_floor", False),
    ],
)
def test_repeating_positions_is_undone_by_a_pool(transformation, rounding, pooled):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    attributes = {"coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    for dynamic in (False, True):
        gradient = check_transpose(resize(x.shape, dynamic, scales=[1, 1, 2, 3], **attributes), x)
        made = [node.op_type for node in gradient.graph.node]
        assert ("AveragePool" in made, "MatMul" in made) == (pooled, not pooled)


def test_upsample_of_an_old_opset():
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)
    for mode in ("nearest", "linear"):
        model = resize(x.shape, scales=[1, 1, 2, 3], opset=9)
        node = helper.make_node("Upsample", ["x", "scales"], ["y"], mode=mode)
        model.graph.node[0].CopyFrom(node)
        check_transpose(model, x)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 3, 4, 5)])
@pytest.mark.parametrize("computed", [False, True])
def test_affine_grid(size, aligned, computed, check_gradient):
    spatial = len(size) - 2
    feeds = {"theta": np.random.default_rng(0).standard_normal((2, spatial, spatial + 1)).astype(np.float32)}
    node = helper.make_node("AffineGrid", ["theta", "size"], ["grid"], align_corners=aligned)
    inputs = [helper.make_tensor_value_info("theta", 1, feeds["theta"].shape)]
    stored = []
    if computed:
        feeds["size"] = np.array(size)
        inputs.append(helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [len(size)]))
    else:
        stored.append(onnx.numpy_helper.from_array(np.array(size), "size"))
    output = helper.make_tensor_value_info("grid", 1, [None] * len(size))
    graph = helper.make_graph([node], "one", inputs, [output], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    check_gradient(model, feeds, step=1.0)  # linear, and the reference evaluator computes it in float32
