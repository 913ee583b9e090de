"""Models of sounds whose sizes are settled."""

from __future__ import annotations

import numpy as np
import onnx

import onnxray
from onnxray.engine.graph.narrow import is_narrowed
from onnxray.engine.sound.settled import settled_model


def test_a_model_that_computes_in_float16_is_known_to() -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]> m (float[N, 4] x) => (float[N, 4] y) { y = MatMul (x, w) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w"))
    half = onnxray.load(proto, half=True)
    found = settled_model(half, {}, {"x": (2, 4)})
    assert found.inputs[0].shape == (2, 4)
    assert is_narrowed(found)
