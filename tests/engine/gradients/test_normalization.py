"""Judges: normalisations written out in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxray.tests.engine.gradients.graphs import model_of


def draw(seed, *shapes, dtype=np.float32, **more):
    rng = np.random.default_rng(seed)
    names = ["x", "scale", "bias"][: len(shapes)]
    feeds = {n: rng.standard_normal(s).astype(dtype) for n, s in zip(names, shapes, strict=True)}
    feeds["x"] = (1 + 2 * feeds["x"]).astype(dtype)
    return {**feeds, **more}


def unit(x, axes, epsilon):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def channels(v, x):
    return v.reshape(-1, *[1] * (x.ndim - 2))


both = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])


@both
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 2, 4)])
def test_batch_normalization(shape, dynamic, check_gradient):
    rng = np.random.default_rng(1)
    c = shape[1]
    feeds = draw(0, shape, (c,), (c,))
    feeds["mean"] = rng.standard_normal(c).astype(np.float32)
    feeds["var"] = rng.uniform(0.5, 2, c).astype(np.float32)
    node = helper.make_node("BatchNormalization", list(feeds), ["y"], epsilon=0.01)

    def forward(at):
        x = at["x"]
        inverse = 1 / np.sqrt(at["var"] + 0.01)
        scaled = (x - channels(at["mean"], x)) * channels(inverse * at["scale"], x)
        return [scaled + channels(at["bias"], x)]

    check_gradient(model_of(node, feeds, dynamic), feeds, forward=forward)


@both
def test_batch_normalization_by_the_statistics_of_the_batch(dynamic, check_gradient):
    """training_mode: x gets a gradient through the statistics, and from the running ones as well."""
    feeds = draw(0, (3, 2, 4, 5), (2,), (2,))
    feeds["mean"], feeds["var"] = np.array([0.5, -1], np.float32), np.array([1, 2], np.float32)
    outputs = ["y", "running_mean", "running_var"]
    node = helper.make_node("BatchNormalization", list(feeds), outputs, training_mode=1, momentum=0.7)

    def forward(at):
        x, rest = at["x"], (0, 2, 3)
        y = unit(x, rest, 1e-5) * channels(at["scale"], x) + channels(at["bias"], x)
        return [y, 0.7 * at["mean"] + 0.3 * x.mean(rest), 0.7 * at["var"] + 0.3 * x.var(rest)]

    check_gradient(model_of(node, feeds, dynamic), feeds, forward=forward)
    check_gradient(
        model_of(node, feeds, dynamic), feeds, of=["y"], wrt=["x", "scale", "bias"], forward=lambda at: forward(at)[:1]
    )


def test_batch_normalization_leaves_the_convolution_before_it_to_be_folded(check_gradient, tmp_path):
    """No rule reads what is between Conv and BatchNormalization: the runtime makes one Conv of both."""
    rng = np.random.default_rng(0)
    x = {"x": rng.standard_normal((1, 8, 6, 6)).astype(np.float32)}
    arrays = {
        "w": rng.standard_normal((8, 8, 3, 3)) / 9,
        "scale": rng.standard_normal(8),
        "bias": rng.standard_normal(8),
        "mean": rng.standard_normal(8),
        "var": rng.uniform(1, 2, 8),
    }
    model = model_of(helper.make_node("Conv", ["x", "w"], ["z"]), x)
    model.graph.node.append(helper.make_node("BatchNormalization", ["z", "scale", "bias", "mean", "var"], ["y"]))
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items())
    model.graph.output[0].name = "y"
    gradient = check_gradient(model, x, wrt=["x"])
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(gradient.SerializeToString(), options, providers=["CPUExecutionProvider"])
    opened = [node.op_type for node in onnx.load(tmp_path / "opened.onnx").graph.node]
    assert opened.count("BatchNormalization") == 0
    assert opened.count("Conv") == 2


@both
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 2, 4)])
def test_instance_normalization(shape, dynamic, check_gradient):
    feeds = draw(0, shape, (shape[1],), (shape[1],))
    node = helper.make_node("InstanceNormalization", list(feeds), ["y"], epsilon=0.1)
    rest = tuple(range(2, len(shape)))

    def forward(at):
        x = at["x"]
        return [unit(x, rest, 0.1) * channels(at["scale"], x) + channels(at["bias"], x)]

    check_gradient(model_of(node, feeds, dynamic), feeds, forward=forward)


@both
@pytest.mark.parametrize("opset", [18, 21], ids=["per group", "per channel"])
@pytest.mark.parametrize("shape", [(2, 6, 5), (3, 6, 4, 5)])
def test_group_normalization(shape, opset, dynamic, check_gradient):
    """The meaning of scale and bias changed with opset 21."""
    groups, c = 3, shape[1]
    vector = (groups,) if opset == 18 else (c,)
    feeds = draw(0, shape, vector, vector)
    node = helper.make_node("GroupNormalization", list(feeds), ["y"], num_groups=groups, epsilon=0.1)

    def forward(at):
        x = at["x"]
        grouped = unit(x.reshape(shape[0], groups, -1), (2,), 0.1).reshape(shape)
        scale, bias = (np.repeat(at[n], c // groups) if opset == 18 else at[n] for n in ("scale", "bias"))
        return [grouped * channels(scale, x) + channels(bias, x)]

    # Opset 18's operator is deprecated, and ONNX's checker knows no deprecated operators.
    check_gradient(model_of(node, feeds, dynamic, opset), feeds, forward=forward, checker=opset >= 21)


@both
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("axis", [-1, 1, 2, -4])
def test_layer_normalization(axis, bias, dynamic, check_gradient):
    shape = (2, 3, 4, 5)
    inner = shape[axis % 4 :]
    feeds = draw(0, shape, inner, *[inner] * bias)
    node = helper.make_node("LayerNormalization", list(feeds), ["y"], axis=axis, epsilon=0.1)
    axes = tuple(range(axis % 4, 4))

    def forward(at):
        return [unit(at["x"], axes, 0.1) * at["scale"] + at.get("bias", 0)]

    check_gradient(model_of(node, feeds, dynamic), feeds, forward=forward)


def test_layer_normalization_through_its_statistics(check_gradient):
    """Mean and InvStdDev are outputs with a derivative, too."""
    feeds = draw(0, (2, 3, 6), (6,), (6,))
    node = helper.make_node("LayerNormalization", list(feeds), ["y", "mean", "inverse"], epsilon=0.1)

    def forward(at):
        x = at["x"]
        inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + 0.1)
        return [unit(x, -1, 0.1) * at["scale"] + at["bias"], x.mean(-1, keepdims=True), inverse]

    check_gradient(model_of(node, feeds), feeds, forward=forward)
    check_gradient(model_of(node, feeds), feeds, of=["inverse"], wrt=["x"], forward=lambda at: forward(at)[2:])


def test_layer_normalization_in_double_precision(check_gradient):
    """The operator's own statistics are float32 there: the rule does not take them."""
    feeds = draw(0, (4, 8), (8,), (8,), dtype=np.float64)
    feeds["x"] = feeds["x"] + 1000
    node = helper.make_node("LayerNormalization", list(feeds), ["y"])
    gradient = check_gradient(
        model_of(node, feeds),
        feeds,
        forward=lambda at: [unit(at["x"], -1, 1e-5) * at["scale"] + at["bias"]],
        tolerance=1e-6,
    )
    assert [len(n.output) for n in gradient.graph.node if n.op_type == "LayerNormalization"] == [1]


@pytest.mark.parametrize("op", ["LayerNormalization", "InstanceNormalization"])
def test_half_precision(op, check_gradient):
    """Squares of values that half precision still holds are beyond its range."""
    shape = (2, 3, 8)
    vector = (8,) if op == "LayerNormalization" else (3,)
    feeds = draw(0, shape, vector, vector, dtype=np.float16)
    feeds["x"] = (feeds["x"] * 200).astype(np.float16)
    node = helper.make_node(op, list(feeds), ["y"])

    def forward(at):
        scale, bias = (at[n] if op == "LayerNormalization" else channels(at[n], at["x"]) for n in ("scale", "bias"))
        return [unit(at["x"], -1, 1e-5) * scale + bias]

    check_gradient(model_of(node, feeds), feeds, forward=forward, step=1e-2)


@both
@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization(axis, dynamic, check_gradient):
    shape = (2, 3, 4, 5)
    feeds = draw(0, shape, shape[axis % 4 :])
    node = helper.make_node("RMSNormalization", list(feeds), ["y"], axis=axis, epsilon=0.1)
    axes = tuple(range(axis % 4, 4))

    def forward(at):
        x = at["x"]
        return [x / np.sqrt((x * x).mean(axes, keepdims=True) + 0.1) * at["scale"]]

    check_gradient(model_of(node, feeds, dynamic, opset=23), feeds, forward=forward)


@both
@pytest.mark.parametrize("axes", [None, [0, 2, 3], [1], [2, 3]])
def test_mean_variance_normalization(axes, dynamic, check_gradient):
    feeds = draw(0, (3, 4, 4, 5))
    attributes = {} if axes is None else {"axes": axes}
    node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"], **attributes)
    over = tuple(axes or (0, 2, 3))
    check_gradient(model_of(node, feeds, dynamic), feeds, forward=lambda at: [unit(at["x"], over, 0)])


@both
@pytest.mark.parametrize(("size", "bias", "beta"), [(1, 1.0, 0.75), (3, 2.0, 0.5), (3, 1.0, 1.0), (5, 1.5, 2.0)])
def test_local_response_normalization(size, bias, beta, dynamic, check_gradient):
    feeds = draw(0, (2, 6, 3, 4))
    node = helper.make_node("LRN", ["x"], ["y"], size=size, alpha=0.5, beta=beta, bias=bias)

    def forward(at):
        x = at["x"]
        low, high = (size - 1) // 2, size // 2
        sums = [(x[:, max(0, c - low) : c + high + 1] ** 2).sum(1) for c in range(x.shape[1])]
        return [x / (bias + 0.5 / size * np.stack(sums, 1)) ** beta]

    check_gradient(model_of(node, feeds, dynamic), feeds, forward=forward)
