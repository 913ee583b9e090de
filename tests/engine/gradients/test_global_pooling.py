"""Pools over all positions, against sums written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import onnxray.engine.inference.session
from onnxray.tests.engine.gradients.graphs import model_of


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 2, 4)])
@pytest.mark.parametrize(
    ("op", "attributes", "reduce"),
    [
        ("GlobalAveragePool", {}, lambda x: x.mean(-1)),
        ("GlobalMaxPool", {}, lambda x: x.max(-1)),
        ("GlobalLpPool", {"p": 1}, lambda x: np.abs(x).sum(-1)),
        ("GlobalLpPool", {}, lambda x: np.sqrt((x * x).sum(-1))),
        ("GlobalLpPool", {"p": 3}, lambda x: (np.abs(x) ** 3).sum(-1) ** (1 / 3)),
    ],
    ids=["average", "max", "l1", "l2", "l3"],
)
def test_global_pools(op, attributes, reduce, shape, dynamic, check_gradient):
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}

    def forward(at):
        y = reduce(at["x"].reshape(*shape[:2], -1))
        return [y.reshape(*shape[:2], *[1] * (len(shape) - 2))]

    check_gradient(model_of(helper.make_node(op, ["x"], ["y"], **attributes), feeds, dynamic), feeds, forward=forward)


def test_positions_that_tie_share_the_cotangent():
    x = np.array([[[[1, 2], [2, 0]], [[3, 3], [3, 3]]]], np.float32)
    gradient = onnxray.vjp(model_of(helper.make_node("GlobalMaxPool", ["x"], ["y"]), {"x": x}), of="y", wrt="x")
    dy = np.array([[[[1]], [[8]]]], np.float32)
    dx = onnxray.engine.inference.session.run(gradient, {"x": x, "cotangent/y": dy}, ["grad/x"])["grad/x"]
    np.testing.assert_array_equal(dx, [[[[0, 0.5], [0.5, 0]], [[2, 2], [2, 2]]]])


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_channel_of_zeros_has_no_gradient(p):
    x = np.zeros((1, 2, 3, 3), np.float32)
    model = model_of(helper.make_node("GlobalLpPool", ["x"], ["y"], p=p), {"x": x})
    feeds = {"x": x, "cotangent/y": np.ones((1, 2, 1, 1), np.float32)}
    dx = onnxray.engine.inference.session.run(onnxray.vjp(model, of="y", wrt="x"), feeds, ["grad/x"])["grad/x"]
    np.testing.assert_array_equal(dx, np.zeros_like(x))
