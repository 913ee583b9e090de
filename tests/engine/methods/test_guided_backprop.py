"""The rule of guided-backprop, against torch with its rectifiers replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.tests.engine.methods.rectifiers import CASES, cotangent_of, two_layers
from onnxray.tests.rounding import ROUNDING, apart


@pytest.mark.parametrize("case", CASES)
def test_it_matches_torch(load_reference: Any, difference: Any, case: str) -> None:
    reference = load_reference(case)
    e = onnxray.explain(reference.model, reference.x, "guided-backprop", cotangent_of(reference))
    expected = reference.arrays[f"guided:{reference.input}"]
    assert difference(np.asarray(e.values).reshape(expected.shape), expected) < reference.meta["tolerance"]["grad_rel"]


def test_signals_pass_where_both_they_and_the_unit_are_positive(parse: Callable[..., onnx.ModelProto]) -> None:
    model, w1, w2 = two_layers(parse)
    x = np.random.default_rng(1).standard_normal((1, 6)).astype(np.float32)
    expected = w1 @ (np.maximum(w2[:, 1], 0) * (x[0] @ w1 > 0))
    assert apart(onnxray.explain(model, x, "guided-backprop", 1).values, expected) <= ROUNDING


@pytest.mark.parametrize("method", ["guided-backprop", "deconvnet"])
def test_without_a_rectifier_it_says_that_it_is_the_gradient(
    parse: Callable[..., onnx.ModelProto], method: str
) -> None:
    """Networks of GELU or SiLU: the maps were the gradient's to the byte, without a word."""
    text = "m (float[N, 6] x) => (float[N, 4] y) {{ h = MatMul (x, w)  a = {} (h)  y = MatMul (a, v) }}"
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((6, 5)), "v": rng.standard_normal((5, 4))}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    x = rng.standard_normal((1, 6)).astype(np.float32)
    for operator, plain in (("Sigmoid", True), ("Relu", False), ("LeakyRelu", False)):
        model = parse(text.format(operator), **weights)
        found = onnxray.explain(model, x, method, 1)
        assert any("this is the plain gradient" in text for text in found.warnings) == plain
        if plain:
            assert np.array_equal(found.values, onnxray.explain(model, x, "gradient", 1).values)
