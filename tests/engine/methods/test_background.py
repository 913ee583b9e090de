"""Background rows in place of a fill: brute force over coalitions and rows, and the definition of expected gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.errors import MethodError

RNG = np.random.default_rng(0)
W, V = RNG.standard_normal((5, 8)).astype(np.float32), RNG.standard_normal((8, 3)).astype(np.float32)
X = RNG.standard_normal((2, 5)).astype(np.float32)
ROWS = RNG.standard_normal((7, 5)).astype(np.float32)


@pytest.fixture
def table(parse: Callable[..., onnx.ModelProto]) -> onnxray.Model:
    text = "m (float[N, 5] x) => (float[N, 3] y) { h = MatMul (x, w)  r = Tanh (h)  y = MatMul (r, v) }"
    return onnxray.load(parse(text, w=W, v=V))


def score(x: np.ndarray, c: int) -> np.ndarray:
    return (np.tanh(x.astype(np.float64) @ W) @ V)[:, c]


def value_of(coalition: tuple[int, ...], x: np.ndarray, c: int) -> float:
    mixed = ROWS.astype(np.float64).copy()
    mixed[:, list(coalition)] = x[list(coalition)]
    return float(score(mixed, c).mean())


def shapley(x: np.ndarray, c: int) -> np.ndarray:
    n = len(x)
    found = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            share = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for chosen in itertools.combinations(others, size):
                found[i] += share * (value_of((*chosen, i), x, c) - value_of(chosen, x, c))
    return found


def test_kernel_shap_gives_interventional_shapley_values(table: onnxray.Model) -> None:
    found = onnxray.explain(table, X, "kernel-shap", 1, background=ROWS)
    for e, x in zip(found, X, strict=True):
        np.testing.assert_allclose(e.values, shapley(x, 1), atol=1e-5)
        assert e.details["baseline_score"] == pytest.approx(score(ROWS, 1).mean(), abs=1e-5)
        assert e.values.sum() == pytest.approx(e.score - score(ROWS, 1).mean(), abs=1e-5)


def test_ablation_takes_the_mean_over_rows(table: onnxray.Model) -> None:
    e = onnxray.explain(table, X[0], "ablation", 2, background=ROWS)
    whole = tuple(range(5))
    due = [e.score - value_of(tuple(j for j in whole if j != i), X[0], 2) for i in whole]
    np.testing.assert_allclose(e.values, due, atol=1e-5)


def test_sobol_mixes_with_every_row(table: onnxray.Model) -> None:
    """A background of equal rows is a fill; of different ones it is not."""
    same = np.repeat(ROWS[:1], 3, axis=0)
    one = onnxray.explain(table, X[0], "sobol", 0, background=same, designs=16)
    fill = onnxray.explain(table, X[0], "sobol", 0, fill=ROWS[0], designs=16)
    np.testing.assert_allclose(one.values, fill.values, atol=1e-5)
    other = onnxray.explain(table, X[0], "sobol", 0, background=ROWS, designs=16)
    assert np.abs(other.values - fill.values).max() > 1e-3


def test_expected_gradients_add_up_to_the_difference_to_the_mean_score(table: onnxray.Model) -> None:
    e = onnxray.explain(table, X[0], "integrated-gradients", 0, background=ROWS)
    each = [onnxray.explain(table, X[0], "integrated-gradients", 0, baseline=row).values for row in ROWS]
    np.testing.assert_allclose(e.values, np.mean(each, axis=0), atol=1e-6)
    assert e.values.sum() == pytest.approx(e.score - score(ROWS, 0).mean(), abs=1e-4)
    assert e.details["background_rows"] == 7


def test_many_rows_are_drawn_by_the_seed(table: onnxray.Model) -> None:
    def values(**options: Any) -> np.ndarray:
        return np.asarray(onnxray.explain(table, X[0], "kernel-shap", 1, background=ROWS, **options).values)

    assert np.array_equal(values(background_rows=3, seed=1), values(background_rows=3, seed=1))
    assert not np.array_equal(values(background_rows=3, seed=1), values(background_rows=3, seed=2))
    assert np.array_equal(values(background_rows=7), values())


def test_what_does_not_fit_is_refused(table: onnxray.Model) -> None:
    for options, words in [
        ({"background": ROWS[:, :4]}, "fits no samples of shape"),
        ({"background": ROWS[0]}, "fits no samples of shape"),
        ({"background": ROWS, "fill": "zero"}, "fill has no effect"),
        ({"background_rows": 5}, "without a background"),
    ]:
        with pytest.raises(MethodError, match=words):
            onnxray.explain(table, X[0], "kernel-shap", 1, **options)
    with pytest.raises(MethodError, match="baseline has no effect"):
        onnxray.explain(table, X[0], "integrated-gradients", 1, background=ROWS, baseline=0.5)
