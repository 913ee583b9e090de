"""Gradients of float16 models: what float16 cannot hold on the way back is there; the judge is NumPy in float64."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxray
from onnxray.engine.graph.read import read
from onnxray.engine.graph.widen import widened
from onnxray.engine.inference.session import run

SIDE = 256


def _half_model() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A pointwise convolution, Relu, the average over 256 x 256 places, a matrix: gradients of 1e-7."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 1, 1)).astype(np.float16),
        "v": (rng.standard_normal((4, 5)) * 0.05).astype(np.float16),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 5])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), weights


def test_the_gradient_of_a_float16_model_does_not_vanish():
    model, weights = _half_model()
    x = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float16)
    w, v = weights["w"][:, :, 0, 0].astype(np.float64), weights["v"].astype(np.float64)
    on = np.einsum("oc,chw->ohw", w, x[0].astype(np.float64)) > 0
    due = np.einsum("ohw,o,oc->chw", on, v[:, 2], w) / SIDE**2
    got = onnxray.explain(model, x, method="gradient", target=2)
    assert np.corrcoef(got.values.ravel(), due.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(got.values, due, atol=0.02 * np.abs(due).max())


@pytest.mark.parametrize("method", ["lrp", "smoothgrad", "integrated-gradients", "grad-cam", "guided-backprop"])
def test_maps_of_a_float16_model_are_those_of_float32(method):
    half, _ = _half_model()
    single = widened(read(half))
    x = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float16)
    options = {"target": 2, "method": method}
    a = onnxray.explain(half, x, **options)
    b = onnxray.explain(single, x.astype(np.float32), **options)
    assert a.values.any()
    assert not [text for text in a.warnings if "does not depend" in text]
    assert np.corrcoef(a.values.ravel(), b.values.ravel())[0, 1] > 0.999


def test_types_inside_are_widened_too():
    """Constants, casts, and the graphs of an If; integers stay."""
    half = TensorProto.FLOAT16
    three = numpy_helper.from_array(np.array([3], np.float16))
    then = helper.make_graph([helper.make_node("Mul", ["x", "f"], ["s"])], "t", [], [onnx.ValueInfoProto(name="s")])
    other = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=three), helper.make_node("Mul", ["x", "k"], ["d"])],
        "e",
        [],
        [helper.make_tensor_value_info("d", half, ["n"])],
    )
    nodes = [
        helper.make_node("Size", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=half),
        helper.make_node("If", ["b"], ["y"], then_branch=then, else_branch=other),
    ]
    infos = [helper.make_tensor_value_info("x", half, ["n"]), helper.make_tensor_value_info("b", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", infos, [helper.make_tensor_value_info("y", half, ["n"])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = widened(read(model))
    for flag, factor in ((True, 2), (False, 3)):
        got = run(made, {"x": np.array([1, 2], np.float32), "b": np.array(flag)})
        assert got["y"].dtype == np.float32
        np.testing.assert_array_equal(got["y"], [factor, 2 * factor])
