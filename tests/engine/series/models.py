"""Small networks with weights by hand that find a step, planted in one of several features of a noisy series.

Each is the same detector in another architecture: a long short-term memory that counts times at which the feature is
high, a temporal convolutional network with dilated kernels, a transformer whose attention looks for high values.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TIMES, FEATURES, PLANTED, LONG, HIGH = 60, 4, 2, 8, 4.0
NAMES = ("lstm", "tcn", "transformer")


def planted(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Series (count, times, features) of noise with a step up and down in one feature, and where each begins."""
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.standard_normal((count, TIMES, FEATURES))
    starts = rng.integers(4, TIMES - LONG - 4, count)
    for row, start in enumerate(starts):
        x[row, start : start + LONG, PLANTED] += HIGH
    return x.astype(np.float32), starts


def network(name: str) -> onnx.ModelProto:
    nodes, constants = {"lstm": _lstm, "tcn": _tcn, "transformer": _transformer}[name]()
    shape = ["N", FEATURES, TIMES] if name == "tcn" else ["N", TIMES, FEATURES]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _lstm() -> tuple[list, dict]:
    """One unit: its input gate opens where the feature is high, its memory keeps everything, more features give noise."""
    w = np.zeros((1, 4, FEATURES), np.float32)  # gates i, o, f, c
    w[0, 0, PLANTED], w[0, 3, PLANTED] = 3.0, 0.5
    w[0, 3] += 0.02
    b = np.zeros((1, 8), np.float32)
    b[0, :4] = -6.0, 4.0, 6.0, 0.0
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["", "h", "c"], hidden_size=1),
        helper.make_node("Squeeze", ["c", "first"], ["y"]),
    ]
    return nodes, {"w": w, "r": np.zeros((1, 4, 1), np.float32), "b": b, "first": np.array([0])}


def _tcn() -> tuple[list, dict]:
    """Two dilated convolutions: means of the feature over 3, then over 3 of these, 2 apart; the greatest counts."""
    first = np.full((2, FEATURES, 3), 0.01, np.float32)
    first[0, PLANTED] = 1 / 3
    second = np.zeros((1, 2, 3), np.float32)
    second[0, 0], second[0, 1] = 1 / 3, 0.05
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c"], pads=[2, 0]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "k"], ["d"], dilations=[2], pads=[4, 0]),
        helper.make_node("Sub", ["d", "high"], ["s"]),
        helper.make_node("Relu", ["s"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["y"], axes=[2], keepdims=0),
    ]
    return nodes, {"a": first, "k": second, "high": np.float32(HIGH / 3)}


def _transformer() -> tuple[list, dict]:
    """Tokens of two numbers, one the feature; every time looks at the times where it is high; the mean of what is seen."""
    embed = np.full((FEATURES, 2), 0.02, np.float32)
    embed[PLANTED] = 1.0, 0.0
    nodes = [
        helper.make_node("MatMul", ["x", "embed"], ["h"]),
        helper.make_node("MatMul", ["h", "query"], ["q0"]),
        helper.make_node("Add", ["q0", "one"], ["q"]),
        helper.make_node("MatMul", ["h", "key"], ["k0"]),
        helper.make_node("Transpose", ["k0"], ["k"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["map"], axis=-1),
        helper.make_node("MatMul", ["map", "h"], ["seen"]),
        helper.make_node("ReduceMean", ["seen"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "out"], ["y"]),
    ]
    constants = {
        "embed": embed,
        "query": np.float32([[0.05], [0.0]]),
        "one": np.float32([1.0]),
        "key": np.float32([[1.5], [0.1]]),
        "out": np.float32([[1.0], [0.1]]),
    }
    return nodes, constants


def forecast(steps: int = 3) -> onnx.ModelProto:
    """(N, times, features) -> (N, steps, features): step h of a feature is the value 10 + h times before the end of the
    feature before it."""
    w = np.zeros((TIMES * FEATURES, steps * FEATURES), np.float32)
    for h in range(steps):
        for v in range(FEATURES):
            w[(TIMES - 10 - h) * FEATURES + (v - 1) % FEATURES, h * FEATURES + v] = 1.0
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["u", "flat"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["z"]),
        helper.make_node("Reshape", ["z", "out"], ["forecast"]),
    ]
    graph = helper.make_graph(
        nodes,
        "forecast",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", TIMES, FEATURES])],
        [helper.make_tensor_value_info("forecast", TensorProto.FLOAT, ["N", steps, FEATURES])],
        [
            numpy_helper.from_array(np.int64([-1, TIMES * FEATURES]), "flat"),
            numpy_helper.from_array(np.int64([-1, steps, FEATURES]), "out"),
            numpy_helper.from_array(w, "w"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
