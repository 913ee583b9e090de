"""Softmax and sigmoid in the dialects of exporters; the judge is what the graph computes when it runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inference.session import run
from onnxray.engine.inspect.score_functions import as_scores, score_function

Parse = Callable[..., onnx.ModelProto]
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32) * 3

SOFTMAX = {
    "its operator": "y = Softmax <axis = 1> (x)",
    "exponentials over their sum": "e = Exp (x) s = ReduceSum <keepdims = 1> (e, one) y = Div (e, s)",
    "the maximum subtracted": "m = ReduceMax <axes = [1], keepdims = 1> (x) d = Sub (x, m) e = Exp (d)"
    " s = ReduceSum <keepdims = 1> (e, one) y = Div (e, s)",
    "a reciprocal": "m = ReduceMax <axes = [1], keepdims = 1> (x) d = Sub (x, m) e = Exp (d)"
    " s = ReduceSum <keepdims = 1> (e, one) r = Reciprocal (s) y = Mul (e, r)",
    "a reciprocal in front": "e = Exp (x) s = ReduceSum <keepdims = 1> (e, one) r = Reciprocal (s) y = Mul (r, e)",
    "exp of a log softmax": "l = LogSoftmax <axis = 1> (x) y = Exp (l)",
    "clipped": "p = Softmax <axis = 1> (x) y = Clip (p, zero, whole)",
    "a reshape behind it": "p = Softmax <axis = 1> (x) y = Reshape (p, shape)",
}
SIGMOID = {
    "its operator": "y = Sigmoid (x)",
    "one over one plus": "n = Neg (x) e = Exp (n) d = Add (whole, e) y = Div (whole, d)",
    "a reciprocal": "n = Neg (x) e = Exp (n) d = Add (e, whole) y = Reciprocal (d)",
    "minus one times x": "n = Mul (x, minus) e = Exp (n) d = Add (e, whole) y = Reciprocal (d)",
    "a tangent, added then halved": "h = Mul (x, half) t = Tanh (h) a = Add (t, whole) y = Mul (a, half)",
    "a tangent, halved then added": "h = Mul (x, half) t = Tanh (h) a = Mul (half, t) y = Add (half, a)",
    "minus softplus": "n = Neg (x) s = Softplus (n) m = Neg (s) y = Exp (m)",
}
LOGS = {
    "its operator": "y = LogSoftmax <axis = 1> (x)",
    "a logarithm": "p = Softmax <axis = 1> (x) y = Log (p)",
    "minus logsumexp": "s = ReduceLogSumExp <axes = [1], keepdims = 1> (x) y = Sub (x, s)",
    "minus the logarithm of a sum": "e = Exp (x) s = ReduceSum <keepdims = 1> (e, one) l = Log (s) y = Sub (x, l)",
}
CONSTANTS = "int64[1] one = {1}, float zero = {0}, float whole = {1}, float half = {0.5}, float minus = {-1}, "
CONSTANTS += "int64[2] shape = {-1, 4}"


def loaded(parse: Parse, nodes: str) -> onnxray.Model:
    return onnxray.load(parse(f"g (float[n, 4] x) => (float[n, k] y) <{CONSTANTS}> {{ {nodes} }}"))


@pytest.mark.parametrize("nodes", SOFTMAX.values(), ids=SOFTMAX)
def test_softmax(parse: Parse, nodes: str) -> None:
    model = loaded(parse, nodes)
    y = run(model, {"x": X})["y"]
    assert np.allclose(y.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(y, np.exp(X) / np.exp(X).sum(axis=1, keepdims=True), atol=1e-6)
    found = score_function(model, "y")
    assert found is not None
    assert found.kind == "softmax"
    assert as_scores(found) == "probabilities"
    assert found.logits in ("x", None)
    assert found.logits == "x" or "Clip" in nodes


@pytest.mark.parametrize("nodes", SIGMOID.values(), ids=SIGMOID)
def test_sigmoid(parse: Parse, nodes: str) -> None:
    model = loaded(parse, nodes)
    assert np.allclose(run(model, {"x": X})["y"], 1 / (1 + np.exp(-X)), atol=1e-6)
    found = score_function(model, "y")
    assert found is not None
    assert found.kind == "sigmoid"


@pytest.mark.parametrize("nodes", LOGS.values(), ids=LOGS)
def test_log_softmax(parse: Parse, nodes: str) -> None:
    model = loaded(parse, nodes)
    assert np.allclose(np.exp(run(model, {"x": X})["y"]).sum(axis=1), 1, atol=1e-6)
    found = score_function(model, "y")
    assert found is not None
    assert found.kind == "log-softmax"
    assert as_scores(found) == "log-probabilities"
    assert found.logits == "x"


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Relu (x)",
        "e = Exp (x) y = Div (e, whole)",
        "e = Exp (x) s = ReduceSum <keepdims = 1> (x, one) y = Div (e, s)",
        "e = Exp (x) d = Add (e, half) y = Reciprocal (d)",
        "t = Tanh (x) y = Mul (t, half)",
        "p = Sigmoid (x) y = Clip (p, minus, whole)",
        "p = Sigmoid (x) y = Mul (p, half)",
        "m = ReduceMax <axes = [1], keepdims = 1> (x) y = Sub (x, m)",
    ],
)
def test_other_endings_are_plain_numbers(parse: Parse, nodes: str) -> None:
    assert score_function(loaded(parse, nodes), "y") is None


def test_a_mean_of_sigmoids_and_both_branches_of_an_if(parse: Parse) -> None:
    model = loaded(parse, "p = Sigmoid (x) y = ReduceMean <axes = [1], keepdims = 1> (p)")
    found = score_function(model, "y")
    assert found is not None
    assert (found.kind, found.logits) == ("sigmoid", None)
    text = """g (float[n, 4] x, bool c) => (float[n, 4] y) {{
        y = If (c) <then_branch = a () => (float[n, 4] p) {{ p = Sigmoid (x) }},
                    else_branch = b () => (float[n, 4] q) {{ r = Relu (x) q = {} (r) }}>
    }}"""
    both = score_function(onnxray.load(parse(text.format("Sigmoid"))), "y")
    assert both is not None
    assert both.kind == "sigmoid"
    assert score_function(onnxray.load(parse(text.format("Tanh"))), "y") is None


def test_both_sides_of_a_probability(parse: Parse) -> None:
    model = onnxray.load(
        parse(
            "g (float[n, 1] x) => (float[n, 2] y) <float whole = {1}> "
            "{ p = Sigmoid (x) q = Sub (whole, p) y = Concat <axis = 1> (q, p) }"
        )
    )
    found = score_function(model, "y")
    assert found is not None
    assert as_scores(found) == "probabilities"
