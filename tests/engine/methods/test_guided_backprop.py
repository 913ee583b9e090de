"""The rule of guided-backprop, against torch with its rectifiers replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.tests.rounding import ROUNDING, apart


@pytest.mark.parametrize("case", ["t_resnet_basic_op17", "t_vgg_op13", "t_plaincnn_b1_op11", "t_squeezenet_op11"])
def test_it_matches_torch(load_reference: Any, difference: Any, case: str) -> None:
    reference = load_reference(case)
    ((name, cotangent),) = ((k[4:], a) for k, a in reference.arrays.items() if k.startswith("cot:"))
    target = onnxray.Target.cotangent(name, cotangent)
    e = onnxray.explain(reference.model, reference.x, "guided-backprop", target)
    expected = reference.arrays[f"guided:{reference.input}"]
    assert difference(np.asarray(e.values).reshape(expected.shape), expected) < reference.meta["tolerance"]["grad_rel"]


def two_layers(parse: Callable[..., onnx.ModelProto]) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    w1, w2 = rng.standard_normal((6, 8)).astype(np.float32), rng.standard_normal((8, 3)).astype(np.float32)
    text = "m (float[N, 6] x) => (float[N, 3] y) { a = MatMul (x, w1) b = Relu (a) y = MatMul (b, w2) }"
    return parse(text, w1=w1, w2=w2), w1, w2


def test_signals_pass_where_both_they_and_the_unit_are_positive(parse: Callable[..., onnx.ModelProto]) -> None:
    model, w1, w2 = two_layers(parse)
    x = np.random.default_rng(1).standard_normal((1, 6)).astype(np.float32)
    expected = w1 @ (np.maximum(w2[:, 1], 0) * (x[0] @ w1 > 0))
    assert apart(onnxray.explain(model, x, "guided-backprop", 1).values, expected) <= ROUNDING
