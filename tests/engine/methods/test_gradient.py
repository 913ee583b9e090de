"""The gradient: captum's, torch's and the weights of a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import onnxray


def test_it_is_the_framework_s_own_gradient(reference: Any, difference: Any) -> None:
    cotangents = {k[4:]: a for k, a in reference.arrays.items() if k.startswith("cot:")}
    ((name, cotangent),) = cotangents.items()
    e = onnxray.explain(reference.model, reference.x, "gradient", onnxray.Target.cotangent(name, cotangent))
    assert (
        difference(e.values, reference.arrays[f"grad64:{reference.input}"][0]) < reference.meta["tolerance"]["grad_rel"]
    )


def test_the_picture_shows_the_strongest_channel_with_its_sign(cnn: onnx.ModelProto) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    e = onnxray.explain(cnn, x, "gradient")
    assert (np.abs(e.heatmap) == np.abs(e.values).max(axis=0)).all()
    assert (e.heatmap == e.values).any(axis=0).all()


@pytest.mark.parametrize("step", [1e-3])
def test_a_small_step_along_it_raises_the_score(cnn: onnx.ModelProto, step: float) -> None:
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    g = onnxray.explain(cnn, x, "gradient", 3).values.astype(np.float64)
    # In float32 the step would raise the score by little more than its rounding; ONNX's own evaluator has float64.
    evaluator = ReferenceEvaluator(cnn)
    before, after = (evaluator.run(["logits"], {"image": x + s * g})[0][0, 3] for s in (0, step))
    assert before.dtype == np.float64
    assert after - before == pytest.approx(step * (g**2).sum(), rel=0.02)
