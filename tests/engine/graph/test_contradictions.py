"""Models that load and contradict themselves: one error that names the node, before any rule trusts them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

import onnxray
from onnxray.engine.errors import ModelError

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
    made = onnxray.vjp(onnxray.load(model), of="y", wrt="x")
    assert "x" in [v.name for v in made.inputs]


def test_sizes_that_nothing_holds():
    model = _model([helper.make_node("Expand", ["x", "e"], ["y"])], [1, 1], 17)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "e"))
    with pytest.raises(ModelError, match="more than any memory holds"):
        onnxray.vjp(onnxray.load(model), of="y", wrt="x")


def test_what_a_rule_does_not_foresee_names_the_node():
    """A mode that the operator does not have: no schema says so, ONNX Runtime is not asked."""
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], name="bad", mode="SAME_UPPER")
    model = _model([node], [1, 3, 4, 4], 20)
    model.graph.input.append(helper.make_tensor_value_info("grid", 1, [1, 2, 2, 2]))
    with pytest.raises(ModelError, match="node 'bad' .GridSample.") as caught:
        onnxray.vjp(onnxray.load(model), of="y", wrt="x")
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_mistake_of_a_rule_of_the_caller_is_passed_on():
    model = _model([helper.make_node("Relu", ["x"], ["y"])], [2, 3], 17)

    def rule(node, dy, op):
        return [{}["nothing"]]

    with pytest.raises(KeyError, match="nothing"):
        onnxray.vjp(model, of="y", wrt="x", rules={"Relu": rule})


@pytest.mark.parametrize("rules", [None, "guided"])
def test_a_bound_of_no_single_number(rules):
    """onnx lets it pass; ONNX Runtime refuses it at the run."""
    model = _model([helper.make_node("Clip", ["x", "low"], ["y"])], [2, 3], 17)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((2, 3), np.float32), "low"))
    try:
        made = onnxray.vjp(onnxray.load(model), of="y", wrt="x", rules=rules)
    except onnxray.OnnxrayError as error:
        assert "bad" in str(error) or "low" in str(error) or "Clip" in str(error), str(error)  # noqa: PT017
    else:
        assert "x" in [v.name for v in made.inputs]


def test_text_that_is_none():
    node = helper.make_node("AveragePool", ["x"], ["y"], name="bad", kernel_shape=[2], auto_pad=b"\xff\xfe")
    with pytest.raises(ModelError, match="'auto_pad' of node 'bad'"):
        onnxray.load(_model([node], [1, 3, 8], 17))
