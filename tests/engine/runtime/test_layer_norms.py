"""LayerNormalization with its statistics in simple operators: the numbers of ONNX Runtime's own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.inference.session import run
from onnxray.engine.runtime.layer_norms import with_plain_layer_norms


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_and_statistics(axis: int, bias: bool) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 18]> m (float[2, 5, 8] x) => (float[2, 5, 8] y) {{
      n = LayerNormalization <axis = {axis}, epsilon = 0.001> (x, s{", b" if bias else ""})  y = Tanh (n) }}"""
    proto, rng = onnx.parser.parse_model(text), np.random.default_rng(0)
    for name in ("s", "b")[: 1 + bias]:
        values = rng.standard_normal((5, 8)[axis:] if axis < -1 else 8).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    gradient = onnxray.vjp(proto, "y", ["x", "s"])
    made = onnxray.Model(with_plain_layer_norms(gradient.untyped))
    assert any(len(n.output) > 1 for n in gradient.graph.node if n.op_type == "LayerNormalization")
    assert not any(n.op_type == "LayerNormalization" for n in made.graph.node)
    onnx.checker.check_model(made.proto)
    feeds = {name: rng.standard_normal((2, 5, 8)).astype(np.float32) for name in ("x", "cotangent/y")}
    for name, due in run(gradient, feeds).items():
        np.testing.assert_allclose(run(made, feeds)[name], due, rtol=1e-4, atol=1e-5)


def test_with_one_output_it_stays() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]> m (float[2, 8] x, float[8] s) => (float[2, 8] y) {
      y = LayerNormalization (x, s) }"""
    proto = onnx.parser.parse_model(text)
    assert with_plain_layer_norms(proto) is proto
