"""The way back of a float16 model is computed in float32; the judges are NumPy in float64 and the float32 model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnxray
from onnxray.engine.autodiff.vjp import differentiated
from onnxray.engine.graph.read import read
from onnxray.engine.graph.widen import widened
from onnxray.engine.inference.session import run
from onnxray.tests.rounding import HALF, apart

SIDE = 256
AVERAGE = """m (float16[1, 3, 256, 256] x) => (float16[1, 5] y) {
  c = Conv (x, w)  r = Relu (c)  g = GlobalAveragePool (r)  f = Flatten (g)  y = MatMul (f, v) }"""
# An extra output on the way back (the places of the maxima, the statistics), graphs inside, casts.
GRAPHS = {
    "MaxPool": """m (float16[2, 3, 8, 8] x) => (float16[2, 3, 4, 4] y) {
      s = Mul (x, x)  y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (s) }""",
    "LayerNormalization": """m (float16[2, 3, 8, 8] x) => (float16[2, 3, 8, 8] y) {
      f = Constant <value = float[8] {1, 1, 1, 1, 1, 1, 1, 2}> ()  one = Cast <to = 10> (f)
      n = LayerNormalization (x, one)  y = Tanh (n) }""",
    "If": """m (float16[2, 3, 8, 8] x) => (float16[2, 3, 8, 8] y) {
      t = ReduceSum <keepdims = 0> (x)  z = Sub (t, t)  c = Equal (t, t)
      e = If (c) <then_branch = t () => (float16[2, 3, 8, 8] a) { a = Mul (x, x) },
                  else_branch = f () => (float16[2, 3, 8, 8] b) { b = Neg (x) }>
      y = Sigmoid (e) }""",
    "Cast": """m (float16[2, 3, 8, 8] x) => (float16[2, 3, 8, 8] y) {
      w = Cast <to = 1> (x)  e = Exp (w)  y = Cast <to = 10> (e) }""",
}


def _average() -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """Gradients of 1e-7: smaller than what float16 tells from 0."""
    model, rng = (
        onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {AVERAGE}'),
        np.random.default_rng(0),
    )
    w = rng.standard_normal((4, 3, 1, 1)).astype(np.float16)
    v = (rng.standard_normal((4, 5)) * 0.05).astype(np.float16)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in (("w", w), ("v", v)))
    return model, w[:, :, 0, 0].astype(np.float64), v.astype(np.float64)


def _due(x: np.ndarray, w: np.ndarray, v: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    on = np.einsum("oc,chw->ohw", w, x[0].astype(np.float64)) > 0
    return np.einsum("ohw,o,oc->chw", on, v @ cotangent, w) / SIDE**2


def test_small_gradients_are_there() -> None:
    model, w, v = _average()
    x = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float16)
    seed = np.float32([[0, 1, 0, -0.5, 0]])
    wide = differentiated(model, "y", "x", wide=True)
    got = run(wide, {"x": x, "cotangent/y": seed})["grad/x"]
    assert got.dtype == np.float32
    assert np.corrcoef(got.ravel(), _due(x, w, v, seed[0]).ravel())[0, 1] > 0.9999
    # The public gradient has the type of the value; between, nothing is rounded away: with a large cotangent it is all there.
    gradient = onnxray.vjp(model, "y", "x")
    got = run(gradient, {"x": x, "cotangent/y": (seed * 4096).astype(np.float16)})["grad/x"]
    assert got.dtype == np.float16
    assert np.corrcoef(got.ravel().astype(float), _due(x, w, v, seed[0]).ravel())[0, 1] > 0.999


def test_the_way_forward_is_that_of_the_model() -> None:
    model, _, _ = _average()
    gradient = onnxray.vjp(model, "y", ["x", "w"])
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*gradient.graph.input, *gradient.graph.output)}
    assert set(kinds.values()) == {TensorProto.FLOAT16}
    convolutions = [n for n in gradient.graph.node if n.op_type == "Conv" and list(n.input) == ["x", "w"]]
    assert len(convolutions) == 1
    assert not [t.name for t in gradient.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) > 1]
    onnx.checker.check_model(gradient.proto, full_check=True)


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_are_those_of_float32(name: str) -> None:
    model = read(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {GRAPHS[name]}'))
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 3, 8, 8)).astype(np.float16)
    seed = rng.standard_normal([int(d) for d in model.value("y").shape or ()]).astype(np.float16)
    gradient = onnxray.vjp(model, "y", "x")
    got = run(gradient, {"x": x, "cotangent/y": seed})["grad/x"]
    single = onnxray.vjp(widened(model), "y", "x")
    due = run(single, {"x": x.astype(np.float32), "cotangent/y": seed.astype(np.float32)})["grad/x"]
    assert got.dtype == np.float16
    assert apart(got, due) <= HALF


@pytest.mark.parametrize("method", ["gradient", "lrp", "integrated-gradients"])
def test_a_compiled_model_holds_small_gradients(method: str) -> None:
    model, _, _ = _average()
    x = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float16)
    due = onnxray.explain(model, x, method=method, target=2).values
    made = onnxray.compile(model, method, target=2, upsample="none")
    got = run(made, {"x": x})["saliency_map"]
    assert np.corrcoef(np.ravel(due), np.ravel(got))[0, 1] > 0.999


def test_a_gradient_can_be_differentiated_again(parse: Callable[..., onnx.ModelProto]) -> None:
    """d/dx of d(x^3)/dx = 6 x: names of the first gradient do not clash with those of the second."""
    model = parse("m (float16[4] x) => (float16[4] y) { s = Mul (x, x)  y = Mul (s, x) }")
    second = onnxray.vjp(onnxray.vjp(model, "y", "x"), "grad/x", "x")
    x, one = np.float16([0.5, 1, -1, 2]), np.ones(4, np.float16)
    feeds = {v.name: one for v in second.inputs} | {"x": x}
    np.testing.assert_allclose(run(second, feeds)[second.graph.output[-1].name], 6 * x.astype(float), rtol=2e-3)
