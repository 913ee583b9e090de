"""Forms that exporters write: the same values, and gradients that run, at ONNX Runtime's default optimisation."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from onnx import helper, numpy_helper

import onnxray


def _model(nodes, shape, stored, opset=18, out=None):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, out)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _run(proto, feeds, outputs=None, level="ORT_ENABLE_ALL"):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    made = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return made.run(outputs, feeds)


def _judge_linear(model, x, level="ORT_ENABLE_ALL"):
    """Of a linear model: sum(dy f(v)) = sum(dx v); f is ONNX Runtime's, without optimisation, on the file as it is."""
    rng = np.random.default_rng(0)
    (y,) = _run(model, {"x": x}, level="ORT_DISABLE_ALL")
    dy = rng.standard_normal(y.shape).astype(np.float32)
    grad = onnxray.vjp(model, of="y", wrt="x").proto
    again, dx = _run(grad, {"x": x, "cotangent/y": dy}, ["y", "grad/x"], level)
    assert_allclose(again, y, atol=1e-5)
    assert_allclose(np.sum(dy * y), np.sum(dx * x), rtol=1e-3, atol=1e-3)


EMPTY = {"roi": np.zeros(0, np.float32), "scales": np.zeros(0, np.float32), "sizes": np.array([1, 2, 8, 12])}


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_named_but_empty_inputs_of_resize_are_left_out(opset, mode):
    node = helper.make_node("Resize", ["x", "roi", "scales", "sizes"], ["y"], mode=mode)
    model = _model([node], [1, 2, 4, 6], EMPTY, opset)
    assert list(onnxray.load(model).graph.node[0].input) == ["x", "", "", "sizes"]
    _judge_linear(model, np.random.default_rng(1).standard_normal((1, 2, 4, 6)).astype(np.float32))


def _between_transposes(nodes, perm=(0, 3, 1, 2)):
    """The nodes from `a` to `b` with x transposed before them and their result behind."""
    back = [int(i) for i in np.argsort(perm)]
    return [
        helper.make_node("Transpose", ["x"], ["a"], perm=list(perm)),
        *nodes,
        helper.make_node("Transpose", ["b"], ["y"], perm=back),
    ]


CASES = {
    "slice": ([helper.make_node("Slice", ["a", "one", "three", "axes"], ["b"])], {"axes": [2]}),
    "slice of two axes": (
        [helper.make_node("Slice", ["a", "ones", "threes", "axes"], ["b"])],
        {"axes": [3, 1], "ones": [1, 1], "threes": [3, 3]},
    ),
    "slice by steps": ([helper.make_node("Slice", ["a", "one", "last", "axes", "two"], ["b"])], {"axes": [1]}),
    "gather": ([helper.make_node("Gather", ["a", "some"], ["b"], axis=2)], {"some": [1, 2]}),
    "pad with axes": ([helper.make_node("Pad", ["a", "pads", "", "axes"], ["b"])], {"axes": [1], "pads": [1, 2]}),
    "reflected": (
        [helper.make_node("Pad", ["a", "pads", "", "axes"], ["b"], mode="reflect")],
        {"axes": [-1, 2], "pads": [1, 0, 2, 1]},
    ),
    "tile": ([helper.make_node("Tile", ["a", "times"], ["b"])], {"times": [1, 2, 1, 3]}),
    "split": ([helper.make_node("Split", ["a"], ["b", "c"], axis=1, num_outputs=2)], {}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_gradients_between_transposes_at_every_level(case, level, dynamic):
    """The transpose optimiser of ONNX Runtime permutes the amounts of a Pad with `axes` wrongly."""
    nodes, stored = CASES[case]
    vectors = {"one": [1], "three": [3], "two": [2], "last": [99], **stored}
    used = {name for node in nodes for name in node.input}
    kept = {n: np.array(v, np.int64) for n, v in vectors.items() if n in used}
    shape = ["n", "h", "w", "c"] if dynamic else [2, 4, 5, 6]
    model = _model(_between_transposes(nodes), shape, kept, out=[None] * 4)
    _judge_linear(model, np.random.default_rng(1).standard_normal((2, 4, 5, 6)).astype(np.float32), level)


@pytest.mark.parametrize("scale", [0.7, 1.3, 0.9, 1.5])
@pytest.mark.parametrize("batch", [1, "n"])
def test_the_size_of_a_resize_is_what_onnx_runtime_gives(scale, batch):
    """10 times 0.7 is 7 in float32, 6.9999998 in float64: ONNX's inference and the kernel disagree."""
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["z"], mode="linear"),
        helper.make_node("Relu", ["z"], ["r"]),
        helper.make_node("ReduceMean", ["r", "axes"], ["y"]),
    ]
    stored = {"scales": np.array([1, 1, scale, scale], np.float32), "axes": np.array([2, 3])}
    model = _model(nodes, [batch, 2, 10, 10], stored, out=[None] * 4)
    x = np.random.default_rng(0).uniform(0.1, 1, (1, 2, 10, 10)).astype(np.float32)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    z = _run(probe, {"x": x}, ["z"], "ORT_DISABLE_ALL")[0]
    assert onnxray.load(model).value("z").shape[2:] == z.shape[2:]
    _judge_linear(model, x)


def test_an_empty_name_at_the_end_is_an_input_left_out():
    """ONNX Runtime's LayerNormalization crashes on the bias that is named and empty."""
    node = helper.make_node("LayerNormalization", ["x", "w", ""], ["y"], axis=1)
    model = _model([node], [2, 3], {"w": np.ones(3, np.float32)})
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    plain = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    assert_allclose(onnxray.activations(model, x, "y")["y"], plain, rtol=1e-4, atol=1e-5)
    assert list(onnxray.load(model).graph.node[0].input) == ["x", "w"]
