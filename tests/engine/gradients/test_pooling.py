"""Judges: pools written window by window, in float64."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxray.engine.inference.session
from onnxray.engine.gradients import max_pooling
from onnxray.tests.engine.gradients import graphs

model_of = functools.partial(graphs.model_of, opset=19)


class Window:
    """Positions along one axis that the windows of a pool read, from the ONNX specification."""

    def __init__(self, size, kernel, stride, dilation, before, after, ceil):
        reach = size + before + after - (kernel - 1) * dilation - 1
        count = (-(-reach // stride) if ceil else reach // stride) + 1
        if ceil and (count - 1) * stride >= size + before:
            count -= 1
        self.padded, self.inside = [], []
        for o in range(count):
            places = [o * stride + k * dilation - before for k in range(kernel)]
            self.padded.append([p for p in places if p < size + after])
            self.inside.append([p for p in places if 0 <= p < size])


def size_is_settled(attributes):
    """Before opset 22, shape inference gets the size wrong of a pool with both ceil_mode and dilations."""
    return not attributes["ceil_mode"] or max(attributes["dilations"]) == 1


def pool(x, windows, reduce, nothing=0.0):
    """reduce(values (..., taps), taps with padding) for every window; `windows` one per spatial axis.

    nothing: the value of a window that reads the padding only.
    """
    counts = [len(w.inside) for w in windows]
    y = np.empty((*x.shape[:2], *counts))
    for o in itertools.product(*map(range, counts)):
        places = np.ix_(*[w.inside[i] for w, i in zip(windows, o, strict=True)])
        values = x[(slice(None), slice(None), *places)].reshape(*x.shape[:2], -1)
        with_padding = np.prod([len(w.padded[i]) for w, i in zip(windows, o, strict=True)])
        y[(..., *o)] = reduce(values, with_padding) if values.size else nothing
    return y


def draw(rng, dilated=True):
    """(attributes, x, windows) of a pool; ONNX Runtime wants padding below the kernel size."""
    spatial = int(rng.choice([1, 2, 2, 3]))
    kernel, strides = rng.integers(1, 4, spatial).tolist(), rng.integers(1, 4, spatial).tolist()
    dilations = rng.integers(1, 3, spatial).tolist() if dilated and rng.random() < 0.4 else [1] * spatial
    if rng.random() < 0.3:
        strides = kernel
    pads = [int(rng.integers(0, kernel[i % spatial])) for i in range(2 * spatial)]
    if rng.random() < 0.4:
        pads = [0] * 2 * spatial
    ceil = bool(rng.random() < 0.4)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [int(e + rng.integers(0, 7)) for e in extents]
    auto_pad = str(rng.choice(["NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    attributes = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "ceil_mode": int(ceil)}
    if auto_pad == "NOTSET":
        attributes["pads"] = pads
    else:
        # ONNX Runtime refuses SAME padding of kernels below the stride.
        strides = [min(s, k) for s, k in zip(strides, kernel, strict=True)]
        ceil, dilations = False, [1] * spatial
        attributes.update(auto_pad=auto_pad, strides=strides, dilations=dilations, ceil_mode=0)
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(sizes, strides, kernel, strict=True)]
        totals = [0] * spatial if auto_pad == "VALID" else totals
        small = [t // 2 for t in totals]
        large = [t - s for t, s in zip(totals, small, strict=True)]
        pads = large + small if auto_pad == "SAME_LOWER" else small + large
    x = rng.standard_normal((int(rng.integers(1, 3)), 2, *sizes)).astype(np.float32)
    windows = [
        Window(n, k, s, d, pads[i], pads[i + spatial], ceil)
        for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True))
    ]
    return attributes, x, windows


@pytest.mark.parametrize("form", ["indices", "stages", "dynamic"])
@pytest.mark.parametrize("seed", range(40))
def test_max_pool(seed, form, check_gradient, monkeypatch):
    monkeypatch.setattr(max_pooling, "LEAST_COMPARISONS", 0 if form == "stages" else math.inf)
    dynamic = form == "dynamic"
    attributes, x, windows = draw(np.random.default_rng(seed))
    node = helper.make_node("MaxPool", ["x"], ["y"], storage_order=seed % 2, **attributes)
    lowest = float(np.finfo(np.float32).min)

    def forward(at):
        return [pool(at["x"], windows, lambda v, _: v.max(-1), lowest)]

    # Differences of values that large have no digits left for the rest.
    step = 1e-5 if pool(x, windows, lambda v, _: v.max(-1), lowest).min() > lowest else None
    if step is None:
        nothing_from_padding(attributes, x, windows, seed % 2)
    else:
        check_gradient(model_of(node, {"x": x}, dynamic or not size_is_settled(attributes)), {"x": x}, forward=forward)


def nothing_from_padding(attributes, x, windows, order):
    """Windows that read the padding only pass nothing back: each position gets what the others choose it for."""
    node = helper.make_node("MaxPool", ["x"], ["y"], storage_order=order, **attributes)
    model = model_of(node, {"x": x})
    counts = [len(w.inside) for w in windows]
    gradient = onnxray.vjp(model, of="y", wrt="x")
    dy = np.ones((*x.shape[:2], *counts), np.float32)
    dx = onnxray.engine.inference.session.run(gradient, {"x": x, "cotangent/y": dy}, ["grad/x"])["grad/x"]
    expected = np.zeros_like(x)
    for o in itertools.product(*map(range, counts)):
        places = [w.inside[i] for w, i in zip(windows, o, strict=True)]
        for n, c in np.ndindex(*x.shape[:2]) if all(places) else ():
            best = max(itertools.product(*places), key=lambda at, n=n, c=c: x[(n, c, *at)])
            expected[(n, c, *best)] += 1
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("seed", range(30))
def test_average_pool(seed, padding, dynamic, check_gradient):
    attributes, x, windows = draw(np.random.default_rng(seed))
    node = helper.make_node("AveragePool", ["x"], ["y"], count_include_pad=padding, **attributes)

    def forward(at):
        return [pool(at["x"], windows, lambda v, n: v.sum(-1) / n if padding else v.mean(-1))]

    check_gradient(model_of(node, {"x": x}, dynamic or not size_is_settled(attributes)), {"x": x}, forward=forward)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(12))
def test_lp_pool(seed, p, dynamic, check_gradient):
    attributes, x, windows = draw(np.random.default_rng(seed))
    node = helper.make_node("LpPool", ["x"], ["y"], p=p, **attributes)

    def forward(at):
        return [pool(at["x"], windows, lambda v, _: (np.abs(v) ** p).sum(-1) ** (1 / p))]

    check_gradient(model_of(node, {"x": x}, dynamic or not size_is_settled(attributes)), {"x": x}, forward=forward)


def test_indices_in_use_are_taken(check_gradient):
    """A MaxPool whose second output the model has a use for keeps its name; gradients do not run through it."""
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    node = helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[3, 3], strides=[2, 2])
    model = model_of(node, {"x": x}, outputs=["y"])
    model.graph.output.append(helper.make_tensor_value_info("places", onnx.TensorProto.INT64, [None] * 4))
    gradient = check_gradient(model, {"x": x}, of=["y"])
    pools = [n for n in gradient.graph.node if n.op_type == "MaxPool"]
    assert [list(n.output) for n in pools] == [["y", "places"]]
    assert "places" in [v.name for v in gradient.graph.output]


@pytest.mark.parametrize(("kernel", "stride", "reduction"), [(2, 2, "none"), (3, 2, "add")])
def test_sums_only_where_windows_overlap(kernel, stride, reduction, check_gradient):
    x = np.random.default_rng(0).standard_normal((1, 2, 7, 7)).astype(np.float32)
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[kernel] * 2, strides=[stride] * 2)
    gradient = check_gradient(model_of(node, {"x": x}), {"x": x})
    (scatter,) = [n for n in gradient.graph.node if n.op_type == "ScatterElements"]
    assert [a.s.decode() for a in scatter.attribute if a.name == "reduction"] == [reduction]


def test_max_pool_in_half_precision(check_gradient):
    """ONNX Runtime has no half-precision scatter that adds."""
    x = np.random.default_rng(0).permutation(2 * 49).reshape(1, 2, 7, 7).astype(np.float16) / 16
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2])
    windows = [Window(7, 3, 2, 1, 0, 0, False)] * 2
    model = model_of(node, {"x": x}, dtype=np.float16)
    check_gradient(model, {"x": x}, forward=lambda at: [pool(at["x"], windows, lambda v, _: v.max(-1))])


@pytest.mark.parametrize("kind", ["repeated", "again", "matrix"])
def test_average_pool_forms(kind, check_gradient):
    x = np.random.default_rng(0).standard_normal((1, 2, 8, 8)).astype(np.float32)
    attributes = {
        "repeated": {"kernel_shape": [2, 2], "strides": [2, 2]},
        "again": {"kernel_shape": [3, 3], "pads": [1] * 4},
        "matrix": {"kernel_shape": [3, 3], "strides": [2, 2]},
    }[kind]
    gradient = check_gradient(model_of(helper.make_node("AveragePool", ["x"], ["y"], **attributes), {"x": x}), {"x": x})
    made = [n.op_type for n in gradient.graph.node]
    assert ("Resize" in made, made.count("AveragePool"), "MatMul" in made) == {
        "repeated": (True, 1, False),
        "again": (False, 2, False),
        "matrix": (False, 1, True),
    }[kind]


@pytest.mark.parametrize("duplicates", [False, True])
def test_max_unpool(duplicates, check_gradient):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 1, 3, 3)).astype(np.float32)
    places = rng.permutation(36)[:9].astype(np.int64)
    if duplicates:
        places[3], places[7] = places[5], places[5]
    feeds = {"x": x, "places": places.reshape(1, 1, 3, 3)}
    node = helper.make_node("MaxUnpool", ["x", "places"], ["y"], kernel_shape=[2, 2], strides=[2, 2])

    def forward(at):
        y = np.zeros(36)
        for place, value in zip(places, at["x"].ravel(), strict=True):
            y[place] = value
        return [y.reshape(1, 1, 6, 6)]

    check_gradient(model_of(node, feeds), feeds, forward=forward)


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 2, 2), (7, 2, 3), (8, 3, 2), (8, 3, 3)])
def test_average_pool_with_valid_and_ceil_mode(size, kernel, stride, include, opset):
    """The last window hangs over the end: its mean is over what is there. The judge is ONNX Runtime, which is linear."""
    node = helper.make_node(
        "AveragePool",
        ["x"],
        ["y"],
        auto_pad="VALID",
        ceil_mode=1,
        count_include_pad=include,
        kernel_shape=[kernel],
        strides=[stride],
    )
    infos = [helper.make_tensor_value_info("x", 1, [1, 1, size])], [helper.make_tensor_value_info("y", 1, None)]
    graph = helper.make_graph([node], "g", *infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    rows = np.eye(size, dtype=np.float32).reshape(size, 1, 1, size)
    run = onnxray.engine.inference.session.run
    slopes = np.concatenate([run(onnxray.load(model), {"x": row})["y"] for row in rows])
    dy = np.random.default_rng(0).standard_normal(slopes[:1].shape).astype(np.float32)
    got = run(onnxray.vjp(model, of="y", wrt="x"), {"x": rows[0], "cotangent/y": dy})["grad/x"]
    np.testing.assert_allclose(got.ravel(), (slopes * dy).sum((1, 2)), atol=1e-6)
