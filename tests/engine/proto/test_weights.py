"""Weights next to their graph: sessions give the same bytes, and what is no plain weight stays where it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxray import models
from onnxray.engine.proto import weights
from onnxray.engine.proto.weights import weights_apart
from onnxray.engine.runtime.ort import create, session_options

RNG = np.random.default_rng(0)
LARGE = 4 * weights._LEAST


def adding(tensor: TensorProto, dims: tuple[int, ...], overridable: bool = False) -> ModelProto:
    """x + weight, and a weight that is small."""
    kind = tensor.data_type
    inputs = [helper.make_tensor_value_info("x", kind, dims)]
    if overridable:
        inputs.append(helper.make_tensor_value_info(tensor.name, kind, dims))
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", tensor.name], ["sum"]), helper.make_node("Reshape", ["sum", "shape"], ["y"])],
        "g",
        inputs,
        [helper.make_tensor_value_info("y", kind, ["n"])],
        [tensor, numpy_helper.from_array(np.array([-1]), "shape")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(proto: ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return create(proto, ["CPUExecutionProvider"], session_options(1)).run(None, feeds)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.float16])
@pytest.mark.parametrize("overridable", [False, True])
def test_values_are_the_same(dtype: type, overridable: bool) -> None:
    stored, x = (RNG.integers(-9, 9, (64, LARGE // 64)).astype(dtype) for _ in range(2))
    proto = adding(numpy_helper.from_array(stored, "w"), stored.shape, overridable)
    before = proto.SerializeToString()
    small, apart = weights_apart(proto)
    assert list(apart) == ["w"]
    np.testing.assert_array_equal(apart["w"], stored)
    assert len(small.SerializeToString()) < 1000
    assert proto.SerializeToString() == before
    np.testing.assert_array_equal(run(proto, {"x": x}), (x + stored).ravel())
    if overridable:
        np.testing.assert_array_equal(run(proto, {"x": x, "w": x}), (x + x).ravel())


def test_a_network_gives_the_same_bytes_as_plain_onnx_runtime() -> None:
    """Constant folding, fused batch normalisation and blocked weights see the weights all the same."""
    proto = onnx.load(models.path("builtin"))
    assert weights_apart(proto)[1]
    made = create(proto, ["CPUExecutionProvider"], session_options(1))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (fed,) = plain.get_inputs()
    x = RNG.standard_normal([d if isinstance(d, int) else 2 for d in fed.shape]).astype(np.float32)
    for ours, theirs in zip(made.run(None, {fed.name: x}), plain.run(None, {fed.name: x}), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_small_or_not_plain_stays() -> None:
    few = numpy_helper.from_array(np.ones(8, np.float32), "w")
    proto = adding(few, (8,))
    assert weights_apart(proto) == (proto, {})
    listed = helper.make_tensor("w", TensorProto.FLOAT, (LARGE,), np.ones(LARGE, np.float32))
    listed.ClearField("raw_data")
    listed.float_data.extend([1.0] * LARGE)
    assert weights_apart(adding(listed, (LARGE,)))[1] == {}
    brief = helper.make_tensor("w", TensorProto.BFLOAT16, (LARGE,), b"\0\0" * LARGE, raw=True)
    assert weights_apart(adding(brief, (LARGE,)))[1] == {}


def test_weights_that_nobody_reads_do_not_matter() -> None:
    stored = np.ones(LARGE, np.float32)
    proto = adding(numpy_helper.from_array(stored, "w"), stored.shape)
    proto.graph.initializer.append(numpy_helper.from_array(stored, "unread"))
    assert list(weights_apart(proto)[1]) == ["w"]
    np.testing.assert_array_equal(run(proto, {"x": stored}), stored + stored)


def test_weights_are_read_in_subgraphs_too() -> None:
    stored = np.arange(LARGE, dtype=np.float32)
    branches = {
        f"{which}_branch": helper.make_graph(
            [helper.make_node(op, ["x", "w"], [which])], which, [], [helper.make_tensor_value_info(which, 1, ["n"])]
        )
        for which, op in (("then", "Add"), ("else", "Sub"))
    }
    graph = helper.make_graph(
        [helper.make_node("If", ["which"], ["y"], **branches)],
        "g",
        [helper.make_tensor_value_info("which", TensorProto.BOOL, []), helper.make_tensor_value_info("x", 1, ["n"])],
        [helper.make_tensor_value_info("y", 1, ["n"])],
        [numpy_helper.from_array(stored, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert list(weights_apart(proto)[1]) == ["w"]
    x = np.ones(LARGE, np.float32)
    np.testing.assert_array_equal(run(proto, {"which": np.array(True), "x": x}), x + stored)
    np.testing.assert_array_equal(run(proto, {"which": np.array(False), "x": x}), x - stored)


def test_a_weight_that_is_an_output_as_well() -> None:
    stored = np.arange(LARGE, dtype=np.float32)
    proto = adding(numpy_helper.from_array(stored, "w"), stored.shape)
    proto.graph.output.append(helper.make_tensor_value_info("w", 1, stored.shape))
    made = create(proto, ["CPUExecutionProvider"], session_options(1))
    np.testing.assert_array_equal(made.run(["w"], {"x": stored})[0], stored)


def test_bytes_that_do_not_fit_the_shape_are_left_for_onnx_runtime_to_refuse() -> None:
    cut = numpy_helper.from_array(np.ones(LARGE, np.float32), "w")
    cut.raw_data = cut.raw_data[:-4]
    small, apart = weights_apart(adding(cut, (LARGE,)))
    assert apart == {}
    assert small.graph.initializer[0].raw_data == cut.raw_data
