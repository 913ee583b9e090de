"""Values that leave the range of float16 are found and stay float32."""

from __future__ import annotations

import numpy as np
import onnx

import onnxray
from onnxray.engine.graph.narrow import NOTE, is_measured
from onnxray.engine.inference.batches import RunOptions, run_batches
from onnxray.engine.inference.half_notices import UNMEASURED_HALF
from onnxray.engine.inference.session import run
from onnxray.engine.inspect.float16_range import beyond_float16


def _model(scale: float) -> onnx.ModelProto:
    text = """<ir_version: 8, opset_import: ["" : 18]> m (float[2, 8] x) => (float[2, 8] y) {
      a = MatMul (x, v)  b = MatMul (a, v)  r = Relu (b)  c = MatMul (r, w)  y = MatMul (c, w) }"""
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    v = (rng.standard_normal((8, 8)) * scale).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(v, "v"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.linalg.inv(v).astype(np.float32), "w"))
    return proto


def test_names_what_is_large() -> None:
    model = onnxray.load(_model(300))
    found = beyond_float16(model, -3.0, 3.0)
    assert {"b", "r"} <= found
    assert "a" not in found
    assert beyond_float16(onnxray.load(_model(1)), -3.0, 3.0) == frozenset()


def test_what_would_overflow_stays_float32() -> None:
    half, single = onnxray.load(_model(300), half=True), onnxray.load(_model(300))
    x = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    due, got = run(single, {"x": x})["y"], run(half, {"x": x})["y"]
    assert np.abs(run(onnxray.expose(single, ["b"]), {"x": x})["b"]).max() > 65504
    assert np.isfinite(got).all()
    assert np.linalg.norm(got - due) < 0.1 * np.linalg.norm(due)
    assert half.value("b").dtype == np.float32
    assert half.value("a").dtype == np.float16


def test_where_nothing_is_measured_that_is_said_and_products_of_what_is_huge_stay_float32() -> None:
    """Ones, which the run on noise feeds integers, name no row of a table of one row."""
    text = """<ir_version: 8, opset_import: ["" : 18]> m (float[2, 8] x, int64[1] i) => (float[2, 8] y) {
      k = Constant <value = float {1e6}> ()  g = Gather (t, i)  a = Add (x, g)  b = MatMul (a, w)  c = Mul (b, k)
      d = MatMul (c, w)  s = Softmax (d)  y = MatMul (s, w) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(8, dtype=np.float32), "w"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 8), np.float32), "t"))
    assert beyond_float16(onnxray.load(proto), -3.0, 3.0) is None
    half = onnxray.load(proto, half=True)
    assert not is_measured(half)
    assert "not known" in half.metadata[NOTE]
    assert [half.value(name).dtype for name in "bd"] == [np.float16, np.float32]
    said: list[str] = []
    feeds = {"x": np.ones((2, 8), np.float32), "i": np.int64([0])}
    run_batches(half, {"x": feeds["x"]}, ["y"], shared={"i": feeds["i"]}, runtime=RunOptions(on_notice=said.append))
    assert UNMEASURED_HALF in said
    assert is_measured(onnxray.load(_model(1), half=True))
