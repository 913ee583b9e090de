"""STFT of a signal without its last axis, as torch.stft is exported; ONNX's reference evaluator has no such form."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import onnxray


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("window", [False, True])
def test_stft_of_a_signal_of_two_axes(opset, window):
    stored = [numpy_helper.from_array(np.array(4), "step"), numpy_helper.from_array(np.array(8), "length")]
    stored += [numpy_helper.from_array(np.hanning(8).astype(np.float32), "window")] * window
    node = helper.make_node("STFT", ["x", "step", "window" if window else "", "length"], ["y"])
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", 1, [2, "n"])],
        [helper.make_tensor_value_info("y", 1, [2, None, None, 2])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 32)).astype(np.float32)
    made = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = made.run(None, {"x": x})
    dy = rng.standard_normal(y.shape).astype(np.float32)
    grad = onnxray.vjp(model, of="y", wrt="x").proto.SerializeToString()
    run = onnxruntime.InferenceSession(grad, providers=["CPUExecutionProvider"]).run
    (dx,) = run(["grad/x"], {"x": x, "cotangent/y": dy})
    np.testing.assert_allclose(np.sum(dy * y), np.sum(dx * x), rtol=1e-4)
