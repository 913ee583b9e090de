"""Activations written as several nodes: the derivative of the whole, in NumPy, and when it must not be taken as one."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest

from onnxray.engine.autodiff.vjp import vjp
from onnxray.tests.rounding import ROUNDING, apart

X = np.linspace(-4, 4, 41, dtype=np.float32)
DY = np.random.default_rng(0).standard_normal(41).astype(np.float32)


def run(model, *names, x=X, dy=DY):
    session = onnxruntime.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names), {"x": x, "cotangent/y": dy})


def constant(name, value):
    return f"{name} = Constant<value = float {{{value!r}}}>()"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish_slope(x, alpha=1.0):
    s = sigmoid(alpha * x)
    return s + alpha * x * s * (1 - s)


def gelu_slope(x):
    cumulative = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    return cumulative + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


ROOT, HALF, ONE = constant("r", math.sqrt(2)), constant("h", 0.5), constant("o", 1.0)
ALPHA, INVERSE = constant("a", 1.702), constant("i", math.sqrt(0.5))
FORMS = {
    "SiLU": ("s = Sigmoid(x) y = Mul(x, s)", swish_slope),
    "SiLU, turned": ("s = Sigmoid(x) y = Mul(s, x)", swish_slope),
    "quick GELU": (f"{ALPHA} t = Mul(x, a) s = Sigmoid(t) y = Mul(x, s)", lambda x: swish_slope(x, 1.702)),
    "GELU, half last": (
        f"{ROOT} {HALF} {ONE} u = Div(x, r) e = Erf(u) p = Add(e, o) m = Mul(x, p) y = Mul(m, h)", gelu_slope),
    "GELU, half with x": (
        f"{INVERSE} {HALF} {ONE} u = Mul(x, i) e = Erf(u) p = Add(o, e) g = Mul(x, h) y = Mul(g, p)", gelu_slope),
    "GELU, half with the sum": (
        f"{INVERSE} {HALF} {ONE} u = Mul(i, x) e = Erf(u) p = Add(e, o) g = Mul(h, p) y = Mul(x, g)", gelu_slope),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_slope(parse, form):
    text, slope = FORMS[form]
    grad = vjp(parse(f"g (float[41] x) => (float[41] y) {{ {text} }}"), "y", "x")
    (dx,) = run(grad, "grad/x")
    assert apart(dx, DY * slope(X.astype(np.float64))) <= ROUNDING
    emitted = [n for n in grad.proto.graph.node if n.name.startswith("grad/")]
    assert len(emitted) <= 9, "it was differentiated node by node"


def test_what_only_looks_like_one(parse):
    """sigmoid of another value; a sum with another number; a scaled copy of another value."""
    texts = {
        "e = Exp(x) s = Sigmoid(e) y = Mul(x, s)": lambda x: (
            sigmoid(np.exp(x)) * (1 + x * np.exp(x) * sigmoid(-np.exp(x)))
        ),
        f"{ROOT} {HALF} u = Div(x, r) e = Erf(u) p = Add(e, h) y = Mul(x, p)": lambda x: 2 * gelu_slope(x) - 0.5,
        f"{ONE} e = Erf(x) p = Add(e, o) g = Neg(x) y = Mul(g, p)": lambda x: (
            -1 - np.array([math.erf(v) for v in x]) - x * 2 / math.sqrt(math.pi) * np.exp(-x * x)
        ),
    }
    for text, slope in texts.items():
        (dx,) = run(vjp(parse(f"g (float[41] x) => (float[41] y) {{ {text} }}"), "y", "x"), "grad/x")
        np.testing.assert_allclose(dx, DY * slope(X.astype(np.float64)), rtol=1e-3, atol=1e-5)


def test_values_in_between_can_be_asked_for(parse):
    model = parse("g (float[41] x) => (float[41] y) { s = Sigmoid(x) y = Mul(x, s) }")
    dx, ds = run(vjp(model, "y", ["x", "s"]), "grad/x", "grad/s")
    np.testing.assert_allclose(ds, DY * X, rtol=1e-5)
    assert apart(dx, DY * swish_slope(X)) <= ROUNDING


def test_other_readers_of_a_value_in_between_are_counted(parse):
    model = parse("g (float[41] x) => (float[41] y) { s = Sigmoid(x) m = Mul(x, s) t = Tanh(s) y = Add(m, t) }")
    (dx,) = run(vjp(model, "y", "x"), "grad/x")
    s = sigmoid(X.astype(np.float64))
    assert apart(dx, DY * (swish_slope(X) + (1 - np.tanh(s) ** 2) * s * (1 - s))) <= ROUNDING


def test_a_rule_of_the_users_for_a_part_is_obeyed(parse):
    model = parse("g (float[41] x) => (float[41] y) { s = Sigmoid(x) y = Mul(x, s) }")
    (dx,) = run(vjp(model, "y", "x", rules={"Sigmoid": lambda node, cotangents, op: [cotangents[0]]}), "grad/x")
    assert apart(dx, DY * (sigmoid(X) + X)) <= ROUNDING


def test_a_sum_of_an_expanded_cotangent_and_a_full_one(parse):
    """The sum broadcasts by itself: no tensor of equal numbers is made for it."""
    model = parse(
        "g (float[N,3,4] x) => (float[N,3,1] p, float[N,3,4] y) { p = ReduceMean(x, a) y = Exp(x) }",
        opset=18,
        a=np.array([2]),
    )
    grad = vjp(model, ["p", "y"], "x")
    assert "Expand" not in {n.op_type for n in grad.proto.graph.node}
    session = onnxruntime.InferenceSession(grad.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    x, cy, cp = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 4), (2, 3, 4), (2, 3, 1)))
    (dx,) = session.run(["grad/x"], {"x": x, "cotangent/y": cy, "cotangent/p": cp})
    assert apart(dx, cy * np.exp(x) + cp / 4) <= ROUNDING
