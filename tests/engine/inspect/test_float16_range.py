"""Values that leave the range of float16 are found and stay float32."""

from __future__ import annotations

import numpy as np
import onnx

import onnxray
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
