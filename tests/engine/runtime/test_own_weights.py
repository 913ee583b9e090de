"""Weights that several operators read become one for each, and the numbers stay."""

from __future__ import annotations

import numpy as np
import onnx

import onnxray
from onnxray.engine.inference.session import run
from onnxray.engine.runtime.own_weights import with_own_weights


def _model() -> onnx.ModelProto:
    text = """<ir_version: 8, opset_import: ["" : 18]> m (float[1, 6, 9, 9] x) => (float[1, 6, 9, 9] y) {
      a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)  b = Relu (a)
      y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, v) }"""
    proto = onnx.parser.parse_model(text)
    for n, name in enumerate("wv"):
        weights = np.random.default_rng(n).standard_normal((6, 6, 3, 3)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return proto


def test_nothing_changes_where_no_weight_is_shared() -> None:
    proto = _model()
    assert with_own_weights(proto) is proto


def test_each_operator_has_its_own() -> None:
    gradient = onnxray.vjp(_model(), "y", "x")
    before = gradient.untyped.SerializeToString(deterministic=True)
    made = onnxray.Model(with_own_weights(gradient.untyped))
    assert gradient.untyped.SerializeToString(deterministic=True) == before
    reads = [name for node in made.graph.node for name in node.input if len(made.value(name).shape or ()) == 4]
    weights = [name for name in reads if name in made.initializers]
    assert len(weights) == len(set(weights)) == 4
    rng = np.random.default_rng(5)
    feeds = {name: rng.standard_normal((1, 6, 9, 9)).astype(np.float32) for name in ("x", "cotangent/y")}
    for name, due in run(gradient, feeds).items():
        np.testing.assert_array_equal(run(made, feeds)[name], due)
