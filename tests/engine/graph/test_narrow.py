"""Float32 models that compute in float16; the judges are NumPy with the same roundings, and the float32 model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnxray
from onnxray.engine.errors import ModelError
from onnxray.engine.graph.model import Model
from onnxray.engine.graph.narrow import NOTE, is_narrowed, narrowed
from onnxray.engine.inference.session import run

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT


def parsed(text: str, weights: dict[str, np.ndarray] | None = None, opset: int = 18) -> Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in (weights or {}).items())
    return onnxray.load(proto)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


LAYERS = """m (float[N, 6] x) => (float[N, 4] y) {
  a = MatMul (x, v)  r = Relu (a)  b = MatMul (r, w)  y = Softmax <axis = -1> (b) }"""


def test_equals_numpy_with_the_same_roundings() -> None:
    v, w, x = normal(6, 8), normal(8, 4, seed=1), normal(3, 6, seed=2)
    model = parsed(LAYERS, {"v": v, "w": w})
    before = model.proto.SerializeToString(deterministic=True)
    half = narrowed(model)
    assert model.proto.SerializeToString(deterministic=True) == before
    h = np.float16
    r = np.maximum((x.astype(h).astype(np.float32) @ v.astype(h).astype(np.float32)).astype(h), 0)
    b = (r.astype(np.float32) @ w.astype(h).astype(np.float32)).astype(h).astype(np.float64)
    due = np.exp(b) / np.exp(b).sum(-1, keepdims=True)
    got = run(half, {"x": x})["y"]
    assert got.dtype == np.float32
    # ONNX Runtime leaves out some roundings between operators that it computes in float32.
    np.testing.assert_allclose(got, due, rtol=1e-2, atol=1e-9)
    assert not np.array_equal(got, run(model, {"x": x})["y"])


def test_ends_stay_and_weights_are_halved() -> None:
    half = narrowed(parsed(LAYERS, {"v": normal(6, 8), "w": normal(8, 4)}))
    onnx.checker.check_model(half.proto, full_check=True)
    assert {v.dtype for v in (*half.inputs, *half.outputs)} == {np.dtype(np.float32)}
    assert {t.data_type for t in half.graph.initializer} == {HALF}
    # The softmax comes after the last product.
    assert half.metadata[NOTE] == "3 of 4 operators compute in float16"
    assert half.value("r").dtype == np.float16
    assert is_narrowed(half)
    assert not is_narrowed(parsed(LAYERS, {"v": normal(6, 8), "w": normal(8, 4)}))


def test_a_weight_beyond_the_range_stays() -> None:
    v = normal(6, 8)
    v[0, 0] = 1e5
    half = narrowed(parsed(LAYERS, {"v": v, "w": normal(8, 4)}))
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    assert kinds == {"v": SINGLE, "w": HALF}
    np.testing.assert_array_equal(half.constant("v"), v)


def test_one_number_that_would_become_0_stays() -> None:
    text = """m (float[2, 4] x) => (float[2, 4] y) {
      e = Constant <value = float {1e-9}> ()  p = Relu (x)  q = Add (p, e)  r = Reciprocal (q)
      s = Clip (r)  y = MatMul (s, w) }"""
    half = narrowed(parsed(text, {"w": np.eye(4, dtype=np.float32)}))
    assert half.value("q").dtype == np.float32


@pytest.mark.parametrize(
    "body",
    [
        "a = MatMul (x, w)  b = Div (a, s)  y = MatMul (b, w)",
        "a = MatMul (x, w)  b = Div (a, t)  y = MatMul (b, w)",
        """a = MatMul (x, w)  b = BatchNormalization <epsilon = 1e-9> (a, one, zero, zero, s)
        y = MatMul (b, w)""",
        "a = MatMul (x, w)  c = Abs (a)  d = Add (c, s)  b = Div (a, d)  y = MatMul (b, w)",
    ],
    ids=["all", "one", "BatchNormalization", "added"],
)
def test_weights_that_would_become_0_under_a_fraction_stay(body: str) -> None:
    s = np.full(4, 1e-8, np.float32)
    t = np.float32([1, 1e-8, 1, 1])
    weights = {"w": np.eye(4, dtype=np.float32), "s": s, "t": t, "one": s / s, "zero": s * 0}
    model = parsed(f"m (float[2, 4] x) => (float[2, 4] y) {{ {body} }}", weights)
    half = narrowed(model)
    assert half.value("b").dtype == np.float32
    x = np.float32([[1e-4, 2e-4, 0, 1e-4], [0, 0, 1e-4, 2e-4]])
    assert np.isfinite(run(model, {"x": x})["y"]).all()
    assert not np.isnan(run(half, {"x": x})["y"]).any()


def test_an_attribute_beyond_the_range_stays() -> None:
    """The mask of a rectifier in a gradient: 0 times an infinite slope would be no number."""
    text = """m (float[2, 4] x) => (float[2, 4] y) {
      p = MatMul (x, w)  q = HardSigmoid <alpha = 1e38, beta = 0.0> (p)  r = Mul (p, q)  y = MatMul (r, w) }"""
    half = narrowed(parsed(text, {"w": np.eye(4, dtype=np.float32)}))
    assert half.value("q").dtype == np.float32
    assert half.value("r").dtype == np.float16


def test_a_weight_that_is_read_in_both_types() -> None:
    text = """m (float[3, 4] x, float[3] s) => (float[3, 3] y) {
      a = MatMul (x, w)  p = Pow (w, s)  q = ReduceSum <keepdims = 0> (p)  b = Mul (a, q)  y = MatMul (b, v) }"""
    model = parsed(text.replace(", float[3] s", ""), {"w": normal(4, 3), "v": normal(3, 3), "s": np.float32([2, 2, 4])})
    half = narrowed(model)
    assert sorted(t.data_type for t in half.graph.initializer if t.name.startswith("w")) == [SINGLE, HALF]
    x = normal(3, 4)
    for name, due in run(model, {"x": x}).items():
        np.testing.assert_allclose(run(half, {"x": x})[name], due, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "body",
    [
        # Two that stay float32 read one value.
        "a = MatMul (x, w)  b = Exp (a)  c = Pow (a, two)  d = Add (b, c)  y = MatMul (d, w)",
        # Graphs inside read what is float16 outside.
        """a = MatMul (x, w)  s = ReduceSum <keepdims = 0> (a)  z = Sub (s, s)  t = Equal (z, z)
        d = If (t) <then_branch = p () => (float[4, 4] u) { u = Mul (a, a) },
                    else_branch = q () => (float[4, 4] v) { v = Neg (a) }>  y = MatMul (d, w)""",
        # Sizes and scales that the schema wants as float32.
        """a = MatMul (x, w)  i = Reshape (a, four)  k = Constant <value = float[4] {1, 1, 2, 2}> ()
        r = Resize (i, , k)  g = GlobalAveragePool (r)  f = Flatten (g)  m = MatMul (x, w)  n = Add (m, f)
        y = MatMul (n, w)""",
        # An output that is read inside as well, and a model that gives its input back.
        "y = MatMul (x, w)  c = Relu (y)  d = MatMul (c, w)  z = Sigmoid (d)  o = Identity (x)",
        # Masks of the largest number there is.
        """a = MatMul (x, w)  t = Greater (x, x)  k = Constant <value = float {-3.4e38}> ()  b = Where (t, k, a)
        s = Softmax (b)  y = MatMul (s, w)""",
    ],
    ids=["one value, two casts", "If", "Resize", "outputs", "mask"],
)
def test_graphs(body: str) -> None:
    ends = "float[4, 4] y" + (", float[4, 4] z, float[4, 4] o" if "o = " in body else "")
    weights = {"w": normal(4, 4) / 2, "two": np.float32([2]), "four": np.int64([1, 4, 2, 2])}
    model = parsed(f"m (float[4, 4] x) => ({ends}) {{ {body} }}", weights)
    half = narrowed(model)
    onnx.checker.check_model(half.proto)
    x = normal(4, 4, seed=3)
    due, got = run(model, {"x": x}), run(half, {"x": x})
    assert list(due) == list(got)
    for name in due:
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], due[name], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("m (float16[2, 4] x) => (float16[2, 4] y) { y = MatMul (x, x2) }", "computes in float16"),
        ("m (double[2, 4] x) => (double[2, 4] y) { y = MatMul (x, x2) }", "computes in float64"),
        ("m (float[2, 4] x) => (float[2, 4] y) { y = Relu (x) }", "no convolution"),
        (
            """m (float[4, 4] x) => (float[4, 4] y) { s = Constant <value = float {0.1}> ()
            z = Constant <value = int8 {0}> ()  q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)
            y = MatMul (d, d) }""",
            "quantised",
        ),
    ],
    ids=["float16", "float64", "no product", "quantised"],
)
def test_what_cannot_be_converted(text: str, said: str) -> None:
    kind = np.float16 if "float16" in text else np.float64
    weights = {"x2": np.eye(4, dtype=kind)} if "x2" in text else {}
    with pytest.raises(ModelError, match=said):
        narrowed(parsed(text, weights))


def test_small_gradients_do_not_become_0() -> None:
    """Of an average over 256 x 256 places: 1e-7, below what float16 tells from 0 in single steps of 6e-8."""
    text = """m (float[1, 3, 256, 256] x) => (float[1, 5] y) {
      c = Conv (x, w)  r = Relu (c)  g = GlobalAveragePool (r)  f = Flatten (g)  y = MatMul (f, v) }"""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3, 1, 1)).astype(np.float16).astype(np.float32)
    v = (rng.standard_normal((4, 5)) * 0.05).astype(np.float16).astype(np.float32)
    x = rng.standard_normal((1, 3, 256, 256)).astype(np.float16).astype(np.float32)
    gradient = onnxray.vjp(narrowed(parsed(text, {"w": w, "v": v})), "y", "x")
    seed = np.float32([[0, 1, 0, -0.5, 0]])
    got = run(gradient, {"x": x, "cotangent/y": seed})["grad/x"]
    assert got.dtype == np.float32
    on = np.einsum("oc,chw->ohw", w[:, :, 0, 0].astype(np.float64), x[0].astype(np.float64)) > 0
    due = np.einsum("ohw,o,oc->chw", on, v.astype(np.float64) @ seed[0], w[:, :, 0, 0].astype(np.float64)) / 256**2
    assert 0 < np.abs(due).max() < 1e-5
    assert np.linalg.norm(got[0] - due) < 1e-3 * np.linalg.norm(due)
