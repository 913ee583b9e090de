"""Kernel SHAP against Shapley values by their definition, closed forms, and what estimates must satisfy."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.methods.kernel_shap import plan, shapley_kernel

Parse = Callable[..., onnx.ModelProto]
RNG = np.random.default_rng(1)
X = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def mixing(parse: Parse) -> onnx.ModelProto:
    """A network in which all features interact: two hidden layers of tanh; feature 5 counts for nothing."""
    w = RNG.standard_normal((8, 16)).astype(np.float32)
    w[5] = 0
    return parse(
        "m (float[N, 8] x) => (float[N, 2] y) { a = MatMul (x, w) b = Tanh (a) c = MatMul (b, v) d = Tanh (c) y = MatMul (d, u) }",
        w=w,
        v=RNG.standard_normal((16, 16)).astype(np.float32),
        u=RNG.standard_normal((16, 2)).astype(np.float32),
    )


def shapley(model: onnx.ModelProto, x: np.ndarray, fill: float, target: int) -> np.ndarray:
    """By definition: the mean over all subsets of what the feature adds, weighted by the number of orders."""
    count = len(x)
    every = ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(bool)
    scores = onnxray.activations(model, np.where(every, x, np.float32(fill)), "y")["y"][:, target].astype(float)
    values = np.zeros(count)
    for code, kept in enumerate(every):
        size = int(kept.sum())
        for i in np.flatnonzero(~kept):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            values[i] += weight * (scores[code + 2**i] - scores[code])
    return values


def test_with_all_coalitions_they_are_the_shapley_values(mixing: onnx.ModelProto) -> None:
    x = RNG.standard_normal((2, 8)).astype(np.float32)
    for e, row in zip(onnxray.explain(mixing, x, "kernel-shap", 1, fill=0.25), x, strict=True):
        assert e.details["exact"] is True
        assert e.details["runs"] == 2**8 - 1
        assert not any(e.details["standard_errors"])
        expected = shapley(mixing, row, 0.25, 1)
        assert np.abs(e.values - expected).max() < 1e-5 * np.abs(expected).max()
        assert abs(e.values[5]) < 1e-5 * np.abs(expected).max()  # it adds nothing to any coalition


def test_the_definition_by_orders_agrees_with_the_judge(parse: Parse) -> None:
    """The judge itself, against all orders in which features can arrive."""
    model = parse(
        "m (float[N, 4] x) => (float[N, 1] y) { a = ReduceProd <keepdims = 1, axes = [1]> (x) b = ReduceMax <keepdims = 1, axes = [1]> (x) y = Add (a, b) }"
    )
    x, total = np.array([2, -1, 3, 0.5], np.float32), np.zeros(4)
    for order in permutations(range(4)):
        steps = np.ones((5, 4), np.float32)
        for at, i in enumerate(order):
            steps[at + 1 :, i] = x[i]
        total[list(order)] += np.diff(onnxray.activations(model, steps, "y")["y"][:, 0])
    assert np.allclose(shapley(model, x, 1.0, 0), total / 24, atol=1e-6)
    e = onnxray.explain(model, x[None], "kernel-shap", 0, fill=1.0)
    assert np.allclose(e.values, total / 24, atol=1e-6)


@pytest.mark.parametrize("samples", [24, 100, 1000])
def test_a_linear_model_is_found_exactly_whatever_the_samples(parse: Parse, samples: int) -> None:
    w = RNG.standard_normal((12, 2)).astype(np.float32)
    model = parse("m (float[N, 12] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=w)
    x = RNG.standard_normal((1, 12)).astype(np.float32)
    e = onnxray.explain(model, x, "kernel-shap", 1, samples=samples, fill=-1.0)
    assert np.allclose(e.values, w[:, 1] * (x[0] + 1), atol=1e-4)
    assert e.details["r2"] == pytest.approx(1)


def test_estimates_add_up_exactly_and_are_as_wrong_as_they_say(parse: Parse) -> None:
    count = 14
    model = parse(
        "m (float[N, 14] x) => (float[N, 1] y) { a = MatMul (x, w) b = Relu (a) y = MatMul (b, v) }",
        w=RNG.standard_normal((count, 20)).astype(np.float32),
        v=RNG.standard_normal((20, 1)).astype(np.float32),
    )
    x = RNG.standard_normal((1, count)).astype(np.float32)
    exact = onnxray.explain(model, x, "kernel-shap", 0, samples=2**count)
    assert exact.details["exact"]
    found = [onnxray.explain(model, x, "kernel-shap", 0, samples=400, seed=seed) for seed in range(30)]
    for e in found:
        difference = e.score - e.details["baseline_score"]
        assert math.fsum(e.values.tolist()) == pytest.approx(difference, abs=1e-5 * float(np.abs(e.values).sum()))
        assert abs(e.details["completeness_error"]) < 1e-12 * max(1, abs(difference))
        assert not e.details["exact"]
        assert e.details["runs"] <= 401
    values = np.stack([e.values for e in found]).astype(float)
    errors = np.mean([e.details["standard_errors"] for e in found], axis=0)
    assert np.abs(values.mean(axis=0) - exact.values).max() < 5 * (errors / np.sqrt(len(found))).max()
    ratio = values.std(axis=0, ddof=1) / errors
    assert 0.6 < np.median(ratio) < 1.5


def test_equal_features_get_equal_values_and_order_does_not_matter(mixing: onnx.ModelProto) -> None:
    x = RNG.standard_normal((1, 8)).astype(np.float32)
    plain = onnxray.explain(mixing, x, "kernel-shap", 0)
    names = np.array([70, 10, 30, 20, 60, 50, 40, 0])
    named = onnxray.explain(mixing, x, "kernel-shap", 0, segments=names)
    assert np.allclose(plain.values, named.values, atol=1e-5 * np.abs(plain.values).max())
    assert named.details["exact"]
    assert sorted(names.tolist()) == [0, 10, 20, 30, 40, 50, 60, 70]


def test_columns_that_belong_together_are_one_feature(mixing: onnx.ModelProto) -> None:
    x = RNG.standard_normal((1, 8)).astype(np.float32)
    groups = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    e = onnxray.explain(mixing, x, "kernel-shap", 0, segments=groups)
    worth: dict[tuple[int, ...], float] = {}
    for size in range(4):
        for kept in combinations(range(3), size):
            masked = np.where(np.isin(groups, kept), x, 0).astype(np.float32)
            worth[kept] = float(onnxray.activations(mixing, masked, "y")["y"][0, 0])
    for g in range(3):
        value = 0.0
        for kept, score in worth.items():
            if g not in kept:
                share = math.factorial(len(kept)) * math.factorial(2 - len(kept)) / 6
                value += share * (worth[tuple(sorted((*kept, g)))] - score)
        assert np.allclose(e.values[groups == g], value, atol=1e-5)
        assert e.details["weights"][g] == pytest.approx(value, abs=1e-5)


def test_one_feature_has_it_all(cnn: onnx.ModelProto) -> None:
    e = onnxray.explain(cnn, X, "kernel-shap", 2, segments=np.zeros((16, 16), int))
    assert np.allclose(e.values, e.score - e.details["baseline_score"], atol=1e-6)


@pytest.mark.parametrize(("features", "samples"), [(9, 18), (9, 120), (10, 300), (30, 60), (30, 500), (31, 3000)])
def test_the_plan_has_the_weights_of_the_shapley_kernel(features: int, samples: int) -> None:
    design = plan(features, samples, 0)
    sizes = design.keep.sum(axis=1)
    assert 1 <= sizes.min() <= sizes.max() <= features - 1
    assert samples - 2 <= len(design.keep) <= samples
    every = sum(math.comb(features, k) * shapley_kernel(features, k) for k in range(1, features))
    assert samples == 2 * features or design.weights.sum() == pytest.approx(every)
    drawn = design.drawn >= 0
    for size in set(sizes[~drawn]):
        assert (sizes[~drawn] == size).sum() == math.comb(features, size)
        assert np.allclose(design.weights[(sizes == size) & ~drawn], shapley_kernel(features, int(size)))
    whole = {row.tobytes() for row in design.keep[~drawn]}
    assert len(whole) == (~drawn).sum()
    pairs = design.keep[drawn]
    assert np.array_equal(pairs[0::2], ~pairs[1::2])
    assert not set(sizes[drawn]) & set(sizes[~drawn])
    assert np.array_equal(design.keep, plan(features, samples, 0).keep)


def test_the_shap_package_agrees(mixing: onnx.ModelProto) -> None:
    shap: Any = pytest.importorskip("shap")
    x = RNG.standard_normal((1, 8)).astype(np.float32)

    def run(rows: np.ndarray) -> np.ndarray:
        return onnxray.activations(mixing, rows.astype(np.float32), "y")["y"][:, 0].astype(float)

    expected = shap.KernelExplainer(run, np.zeros((1, 8))).shap_values(x, nsamples=1000, silent=True)[0]
    assert np.allclose(onnxray.explain(mixing, x, "kernel-shap", 0).values, expected, atol=1e-4)


def test_bad_options(cnn: onnx.ModelProto) -> None:
    with pytest.raises(onnxray.OnnxrayError, match="cannot tell 16 features apart with 31 samples: take at least 32"):
        onnxray.explain(cnn, X, "kernel-shap", samples=31, segments="grid", grid=4)
    with pytest.raises(onnxray.OnnxrayError, match="too many to solve for at once"):
        onnxray.explain(cnn, X, "kernel-shap", samples=1_000_000, segments="grid", grid=16)
