"""Places of maxima computed in the blocked layout, against a loop over windows; and where they must not be used."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnxray.engine.autodiff.vjp import vjp

CHANNELS = 48


def pool_model(shape, before="Relu", batch="batch", **attributes):
    """x -> 1x1 Conv by the identity -> rectifier -> MaxPool -> y."""
    channels = shape[1]
    identity = onnx.numpy_helper.from_array(np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"])]
    if before == "Concat":
        nodes += [
            helper.make_node("Relu", ["c"], ["r0"]),
            helper.make_node("Clip", ["c", "zero", "six"], ["r1"]),
            helper.make_node("Concat", ["r0", "r1"], ["r"], axis=1),
        ]
    else:
        nodes.append(helper.make_node(before, ["c"], ["r"]))
    nodes.append(helper.make_node("MaxPool", ["r"], ["y"], **attributes))
    numbers = [onnx.numpy_helper.from_array(np.float32(v), n) for n, v in (("zero", 0), ("six", 6))]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [batch, *shape[1:]])],
        [helper.make_tensor_value_info("y", 1, None)],
        [identity, *(numbers if before == "Concat" else [])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model, x, dy, name="grad/x"):
    session = onnxruntime.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name], {"x": x, "cotangent/y": dy})[0]


def by_loop(r, dy, kernel, strides, pads):
    """The cotangent of `r`: each number of dy goes to the first largest of its window, row by row."""
    dr = np.zeros_like(r)
    for i, j in itertools.product(range(dy.shape[2]), range(dy.shape[3])):
        best = np.full(dy.shape[:2], -np.inf)
        place = np.zeros((*dy.shape[:2], 2), int)
        for a, b in itertools.product(range(kernel[0]), range(kernel[1])):
            row, column = i * strides[0] + a - pads[0], j * strides[1] + b - pads[1]
            if 0 <= row < r.shape[2] and 0 <= column < r.shape[3]:
                larger = r[:, :, row, column] > best
                best = np.where(larger, r[:, :, row, column], best)
                place[larger] = row, column
        n, c = np.indices(dy.shape[:2])
        np.add.at(dr, (n, c, place[..., 0], place[..., 1]), dy[:, :, i, j])
    return dr


def whole_numbers(shape, most=4):
    """Numbers among which many tie, zeros and negative ones included."""
    return np.random.default_rng(0).integers(-2, most, shape).astype(np.float32)


def by_places(model):
    """Whether it has the pool along rows that the places are computed from."""
    return [node.op_type for node in model.graph.node].count("MaxPool") > 1


WINDOWS = {
    "3/2": ([3, 3], [2, 2], [0, 0, 0, 0], 0),
    "3/2, padded": ([3, 3], [2, 2], [1, 1, 1, 1], 0),
    "3/2, over the end": ([3, 3], [2, 2], [0, 0, 0, 0], 1),
    "5/1": ([5, 5], [1, 1], [2, 2, 2, 2], 0),
    "uneven": ([3, 2], [1, 2], [1, 0, 0, 1], 0),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [(26, 27), (31, 24)])
def test_equals_a_loop_over_windows(window, size):
    kernel, strides, pads, ceil = WINDOWS[window]
    x = whole_numbers((2, CHANNELS, *size))
    proto = pool_model(x.shape, kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=ceil)
    model = vjp(proto, "y", "x")
    onnx.checker.check_model(model.proto, full_check=True)
    assert by_places(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    dy = np.random.default_rng(1).standard_normal(session.run(None, {"x": x})[0].shape).astype(np.float32)
    due = np.where(x > 0, by_loop(np.maximum(x, 0), dy, kernel, strides, pads), 0)
    np.testing.assert_allclose(run(model, x, dy), due, rtol=1e-6, atol=1e-6)


def test_behind_a_concat_of_rectified_maps():
    x = whole_numbers((2, CHANNELS, 25, 25), most=9)
    model = vjp(pool_model(x.shape, "Concat", kernel_shape=[3, 3], strides=[2, 2]), "y", "x")
    assert by_places(model)
    dy = np.random.default_rng(1).standard_normal((2, 2 * CHANNELS, 12, 12)).astype(np.float32)
    halves = [(np.maximum(x, 0), x > 0), (np.clip(x, 0, 6), (x > 0) & (x < 6))]
    due = sum(
        np.where(mask, by_loop(r, dy[:, i * CHANNELS : (i + 1) * CHANNELS], [3, 3], [2, 2], [0, 0]), 0)
        for i, (r, mask) in enumerate(halves)
    )
    np.testing.assert_allclose(run(model, x, dy), due, rtol=1e-6, atol=1e-6)


def test_the_cotangent_between_the_two_is_the_whole_one():
    """Asked for at the pool's input, cotangents of windows of zeros count as well."""
    x = whole_numbers((1, CHANNELS, 25, 25), most=2)
    model = vjp(pool_model(x.shape, kernel_shape=[3, 3], strides=[2, 2]), "y", "r")
    assert not by_places(model)
    dy = np.random.default_rng(1).standard_normal((1, CHANNELS, 12, 12)).astype(np.float32)
    due = by_loop(np.maximum(x, 0), dy, [3, 3], [2, 2], [0, 0])
    np.testing.assert_allclose(run(model, x, dy, "grad/r"), due, rtol=1e-6, atol=1e-6)


def test_not_before_another_rule_or_function():
    shape = (1, CHANNELS, 25, 25)
    window = {"kernel_shape": [3, 3], "strides": [2, 2]}
    for model in (
        vjp(pool_model(shape, **window), "y", "x", rules="deconvnet"),
        vjp(pool_model(shape, "Sigmoid", **window), "y", "x"),
        vjp(pool_model(shape, kernel_shape=[2, 2], strides=[2, 2]), "y", "x"),
    ):
        assert not by_places(model)


def test_not_a_number_is_no_error():
    x = whole_numbers((1, CHANNELS, 25, 25))
    x[0, 0, 3, 3] = np.nan
    model = vjp(pool_model(x.shape, kernel_shape=[3, 3], strides=[2, 2]), "y", "x")
    assert by_places(model)
    dx = run(model, x, np.ones((1, CHANNELS, 12, 12), np.float32))
    assert np.isfinite(dx[:, 1:]).all()


def test_the_gradient_can_be_differentiated_again():
    """Of sum(max^2), twice the maximum at its place; its slope there is 2 for each window that it is largest in."""
    x = np.random.default_rng(0).permutation(CHANNELS * 25 * 25).reshape(1, CHANNELS, 25, 25).astype(np.float32) / 1e4
    proto = pool_model(x.shape, batch=1, kernel_shape=[3, 3], strides=[2, 2])
    proto.graph.node.append(helper.make_node("Mul", ["y", "y"], ["z"]))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    twice = vjp(vjp(proto, "z", "x"), "grad/x", "x")
    session = onnxruntime.InferenceSession(twice.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    seeds = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs() if i.name != "x"}
    second = session.run([twice.outputs[-1].name], {**seeds, "x": x})[0]
    due = by_loop(x, np.full((1, CHANNELS, 12, 12), 2, np.float32), [3, 3], [2, 2], [0, 0])
    np.testing.assert_allclose(second, due, rtol=1e-5)
