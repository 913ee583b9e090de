"""What the tests of methods with rectifiers of their own share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

import onnxray

# Networks whose maps torch computes with its rectifiers replaced.
CASES = ("t_resnet_basic_op17", "t_vgg_op13", "t_plaincnn_b1_op11", "t_squeezenet_op11")


def cotangent_of(reference: Any) -> onnxray.Target:
    """The cotangent that the reference's gradients start from."""
    ((name, cotangent),) = ((key[4:], a) for key, a in reference.arrays.items() if key.startswith("cot:"))
    return onnxray.Target.cotangent(name, cotangent)


def two_layers(parse: Callable[..., onnx.ModelProto]) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    """Two dense layers with a ReLU between them, and their weights."""
    rng = np.random.default_rng(0)
    w1, w2 = rng.standard_normal((6, 8)).astype(np.float32), rng.standard_normal((8, 3)).astype(np.float32)
    text = "m (float[N, 6] x) => (float[N, 3] y) { a = MatMul (x, w1) b = Relu (a) y = MatMul (b, w2) }"
    return parse(text, w1=w1, w2=w2), w1, w2
