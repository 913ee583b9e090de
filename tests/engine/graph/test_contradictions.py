"""Models that load and contradict themselves: one error that names the node, before any rule trusts them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

import onnxray

W = {"w": np.ones((4, 3), np.float32), "k": np.ones((2, 3, 3, 3), np.float32), "s": np.ones((2, 1, 3, 4), np.float32)}
CASES = {
    "sizes of a product": ([helper.make_node("MatMul", ["x", "w"], ["y"], name="bad")], [2, 3]),
    "axes of a convolution": ([helper.make_node("Conv", ["x", "k"], ["y"], name="bad")], [2, 3]),
    "pads of a convolution": ([helper.make_node("Conv", ["x", "k"], ["y"], name="bad", pads=[1])], [1, 3, 8, 8]),
    "strides": ([helper.make_node("Conv", ["x", "k"], ["y"], name="bad", strides=[1])], [1, 3, 8, 8]),
    "permutation": ([helper.make_node("Transpose", ["x"], ["y"], name="bad", perm=[0, 7])], [2, 3]),
    "type": (
        [helper.make_node("Not", ["b"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"], name="bad")],
        [2, 3],
    ),
    "scale with more axes": ([helper.make_node("LayerNormalization", ["x", "s"], ["y"], name="bad")], [3, 4]),
}


def _model(nodes, shape, opset):
    used = {name for node in nodes for name in node.input}
    inputs = [helper.make_tensor_value_info("x", 1, shape)]
    inputs += [helper.make_tensor_value_info("b", 9, shape)] * ("b" in used)
    stored = [numpy_helper.from_array(a, n) for n, a in W.items() if n in used]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, None)], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("case", CASES)
def test_contradictions_end_in_one_error(case):
    nodes, shape = CASES[case]
    with pytest.raises(onnxray.OnnxrayError) as caught:
        onnxray.vjp(onnxray.load(_model(nodes, shape, 17)), of="y", wrt="x")
    assert "\n" not in str(caught.value)


def test_an_operator_that_the_opset_lacks_is_refused():
    """Upgraded to an opset that has it, its arguments would be read as what they are not."""
    model = _model([helper.make_node("LayerNormalization", ["x"], ["y"], name="bad")], [3, 4], 13)
    with pytest.raises(onnxray.OnnxrayError):
        onnxray.vjp(onnxray.load(model), of="y", wrt="x")


def test_a_pool_over_no_places():
    model = _model([helper.make_node("GlobalAveragePool", ["x"], ["y"])], [1, 3, 0, 4], 17)
    onnxray.vjp(onnxray.load(model), of="y", wrt="x")
