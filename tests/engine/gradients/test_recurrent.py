"""LSTM, GRU, RNN: the Scan that is written out equals ONNX Runtime's kernels, and so does its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inference.session import run

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TIME, BATCH, INPUT, HIDDEN = 4, 3, 2, 5
Judge = Callable[..., dict[str, np.ndarray]]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * 0.5).astype(np.float32)


def layer(
    op_type: str, direction: str, *, bias: bool = True, lengths: bool = False, initial: bool = False,
    peepholes: bool = False, time: int | str = TIME, **attributes: object,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:  # fmt: skip
    """A model of one recurrent node with all its outputs, and feeds."""
    directions = 2 if direction == "bidirectional" else 1
    gates = GATES[op_type]
    arrays: dict[str, np.ndarray | None] = {
        "x": draw(TIME, BATCH, INPUT),
        "w": draw(directions, gates * HIDDEN, INPUT),
        "r": draw(directions, gates * HIDDEN, HIDDEN, seed=1),
        "b": draw(directions, 2 * gates * HIDDEN, seed=2) if bias else None,
        "lengths": np.array([2, 4, 3], np.int32) if lengths else None,
        "h": draw(directions, BATCH, HIDDEN, seed=3) if initial else None,
    }
    if op_type == "LSTM":
        arrays["c"] = draw(directions, BATCH, HIDDEN, seed=4) if initial else None
        arrays["p"] = draw(directions, 3 * HIDDEN, seed=5) if peepholes else None
    feeds = {name: array for name, array in arrays.items() if array is not None}
    names = ["y", "yh", "yc"] if op_type == "LSTM" else ["y", "yh"]
    node = onnx.helper.make_node(
        op_type, [n if a is not None else "" for n, a in arrays.items()], names, hidden_size=HIDDEN,
        direction=direction, **attributes,
    )  # fmt: skip
    inputs = []
    for name, array in feeds.items():
        shape: list[int | str] = [time, *array.shape[1:]] if name == "x" else list(array.shape)
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        inputs.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    outputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), feeds


@pytest.mark.parametrize(
    ("op_type", "direction"), list(itertools.product(GATES, ["forward", "reverse", "bidirectional"])), ids="-".join
)
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
def test_all_inputs(op_type: str, direction: str, lengths: bool, judge: Judge) -> None:
    model, feeds = layer(op_type, direction, lengths=lengths, initial=True)
    judge(model, feeds, reference=False)


@pytest.mark.parametrize(
    ("op_type", "options"),
    [
        ("RNN", {"bias": False}),
        ("RNN", {"activations": ["Softsign"], "clip": 0.3}),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.5], "activation_beta": [0.7]}),
        ("GRU", {"bias": False}),
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"linear_before_reset": 1, "bias": False}),
        ("GRU", {"activations": ["HardSigmoid", "Softplus"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("LSTM", {"bias": False}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ["Sigmoid", "Elu", "Softsign"], "activation_alpha": [0.7]}),
    ],
    ids=str,
)
def test_options(op_type: str, options: dict[str, object], judge: Judge) -> None:
    model, feeds = layer(op_type, "forward", **options)  # type: ignore[arg-type]
    judge(model, feeds, reference=False)


@pytest.mark.parametrize("op_type", GATES)
def test_length_of_the_sequence_stays_dynamic(op_type: str, judge: Judge) -> None:
    model, feeds = layer(op_type, "bidirectional", time="T")
    longer = {**feeds, "x": draw(9, BATCH, INPUT)}
    short = judge(model, feeds, ["y"], ["x"], reference=False)["x"]
    assert short.shape == (TIME, BATCH, INPUT)
    assert judge(model, longer, ["y"], ["x"], reference=False)["x"].shape == (9, BATCH, INPUT)


def test_lstm_behind_an_if_whose_branches_differ_in_rank() -> None:
    """The standard says that the inputs of an LSTM have three axes: the inference of such an If knows nothing.

    The judge is the same network without the If, whose other branch is never taken.
    """
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    branches = [
        onnx.helper.make_graph([make(op, given, [out])], out, [], [onnx.ValueInfoProto(name=out)])
        for op, given, out in (("Unsqueeze", ["x", "zero"], "a"), ("Identity", ["x"], "b"))
    ]
    choice = [
        make("ReduceSum", ["x"], ["some"], keepdims=0),
        make("Less", ["some", "much"], ["is"]),
        make("If", ["is"], ["v"], then_branch=branches[0], else_branch=branches[1]),
    ]
    stored = {
        "W": draw(1, 4 * HIDDEN, INPUT),
        "R": draw(1, 4 * HIDDEN, HIDDEN),
        "zero": np.array([0]),
        "much": np.array(1e9, np.float32),
    }
    x = draw(TIME, INPUT)
    found = []
    for nodes in (choice, [make("Unsqueeze", ["x", "zero"], ["v"])]):
        graph = onnx.helper.make_graph(
            [*nodes, make("LSTM", ["v", "W", "R"], ["y"], hidden_size=HIDDEN)],
            "g",
            [info("x", 1, [TIME, INPUT])],
            [info("y", 1, [1, 1, TIME, HIDDEN])],
            [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
        grad = onnxray.vjp(model, of="y", wrt="x")
        feeds = {"x": x, "cotangent/y": np.ones((1, 1, TIME, HIDDEN), np.float32)}
        found.append(run(grad, feeds)["grad/x"])
    assert found[0].any()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
