"""Integrated gradients: captum's maps, completeness, baselines, adaptive steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.integrated_gradients import RULES, quadrature
from onnxray.tests.rounding import ROUNDING, apart

X = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
def test_it_matches_captum(reference: Any, difference: Any, rule: str) -> None:
    about = reference.meta["ig"]
    e = onnxray.explain(
        reference.model, reference.x, "integrated-gradients", about["target"], steps=about["n_steps"], rule=rule
    )
    name = {"gauss-legendre": "gausslegendre"}.get(rule, rule.replace("-", "_"))
    expected = reference.arrays[f"ig:{name}:{about['input']}"][0]
    if rule == "riemann-trapezoid":
        # The reference's trapezoid gives n points the weights 1/n, which add up to (n - 1) / n: a part of the integral.
        expected = expected * (about["n_steps"] / (about["n_steps"] - 1))
    # A ReLU that sits on its kink at one point of the path may be decided otherwise: flips move single values a little.
    assert difference(e.values, expected) < 2e-3
    assert np.linalg.norm(e.values - expected) < 1e-3 * np.linalg.norm(expected)
    assert apart(e.details["score_difference"], about["delta"], np.ptp(e.scores)) <= ROUNDING


@pytest.mark.parametrize("baseline", ["zero", "blur", "noise", 0.5, np.ones((3, 16, 16))])
def test_the_attributions_add_up_to_the_difference_of_the_scores(cnn: onnx.ModelProto, baseline: object) -> None:
    found = onnxray.explain(cnn, X, "integrated-gradients", "top:2", baseline=baseline, steps=300)
    for e in found:
        assert e.values.sum() == pytest.approx(e.details["score_difference"], rel=0.02, abs=5e-3)
        assert e.details["completeness_error"] == pytest.approx(
            float(e.values.sum(dtype=np.float64)) - e.details["score_difference"], abs=1e-9
        )
        assert e.heatmap.sum() == pytest.approx(float(e.values.sum()), rel=1e-4)


def test_the_difference_is_that_of_the_baseline(cnn: onnx.ModelProto) -> None:
    base = np.full((1, 3, 16, 16), 0.5, np.float32)
    e = onnxray.explain(cnn, X[:1], "integrated-gradients", 2, baseline=0.5)
    x, b = (onnxray.activations(cnn, v, "logits")["logits"][0, 2] for v in (X[:1], base))
    assert apart(e.details["score_difference"], float(x) - float(b), np.ptp(e.scores)) <= ROUNDING


def test_steps_are_doubled_until_the_error_is_small(cnn: onnx.ModelProto) -> None:
    coarse = onnxray.explain(cnn, X[:1], "integrated-gradients", 2, steps=2)
    fine = onnxray.explain(cnn, X[:1], "integrated-gradients", 2, steps=2, tolerance=0.01)
    assert coarse.details["steps"] == 2
    assert fine.details["steps"] > 2
    assert fine.details["completeness_relative_error"] <= 0.01
    assert not any("miss the score" in w for w in fine.warnings)
    limited = onnxray.explain(cnn, X[:1], "integrated-gradients", 2, steps=2, tolerance=1e-7, max_steps=8)
    assert limited.details["steps"] == 8
    assert any("with 8 steps" in w for w in limited.warnings)


def test_rows_are_refined_each_by_itself(cnn: onnx.ModelProto) -> None:
    together = onnxray.explain(cnn, X, "integrated-gradients", 2, steps=2, tolerance=0.01)
    for row in range(2):
        alone = onnxray.explain(cnn, X[row : row + 1], "integrated-gradients", 2, steps=2, tolerance=0.01)
        assert together[row].details["steps"] == alone.details["steps"]
        assert np.allclose(together[row].values, alone.values, atol=1e-5)


def test_a_large_error_is_a_warning(cnn: onnx.ModelProto) -> None:
    e = onnxray.explain(cnn, 20 * X[:1], "integrated-gradients", 2, steps=1, baseline=5.0)
    assert e.details["completeness_relative_error"] > 0.05
    assert any("miss the score's difference" in w for w in e.warnings)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 17])
def test_quadrature_integrates_polynomials(rule: str, steps: int) -> None:
    points, weights = quadrature(rule, steps)
    assert len(points) == len(weights) == steps
    assert weights.sum() == pytest.approx(1)
    assert (points @ weights) == pytest.approx(0.5)
    assert ((points >= 0) & (points <= 1)).all()
    if rule == "gauss-legendre":
        for degree in range(2 * steps):
            assert points**degree @ weights == pytest.approx(1 / (degree + 1))
