"""Linear CKA against its closed formula, and the unbiased HSIC against its definition by four different images."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from onnxray.engine.survey.similarity import cka, grams, hsic


def closed(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019, equation 9: of all images at once."""
    x, y = (v - v.mean(0) for v in (x, y))
    return float((np.linalg.norm(y.T @ x) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def unbiased(k: np.ndarray, m: np.ndarray) -> float:
    """The mean over all ordered choices of four different images (Song et al. 2012, the U-statistic)."""
    found = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return float(np.mean(found))


def test_hsic_is_the_u_statistic():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 4)) + 3, rng.normal(size=(7, 2, 3))
    found = hsic(grams([x, y]), grams([x, y]))
    k, m = x @ x.T, y.reshape(7, -1) @ y.reshape(7, -1).T
    np.testing.assert_allclose(found, [[unbiased(a, b) for b in (k, m)] for a in (k, m)], rtol=1e-9, atol=1e-12)


def test_cka_of_many_images_is_the_closed_formula():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1024, 6))
    y = np.tanh(x @ rng.normal(size=(6, 8))) + 0.3 * rng.normal(size=(1024, 8))
    for sizes in (1024, 32):
        sums = np.zeros((2, 2))
        for first in range(0, 1024, sizes):
            part = grams([x[first : first + sizes], y[first : first + sizes]])
            sums += hsic(part, part)
        assert cka(sums[:1, 1:], sums[:1, :1].ravel(), sums[1:, 1:].ravel())[0, 0] == pytest.approx(
            closed(x, y), abs=0.02
        )


def test_it_is_1_for_a_rotation_and_0_for_noise():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(600, 10))
    turned = 4 * x @ np.linalg.qr(rng.normal(size=(10, 10)))[0] + 7
    part = grams([x, turned, rng.normal(size=(600, 10)), np.ones((600, 3))])
    sums = hsic(part, part)
    found = cka(sums, np.diag(sums), np.diag(sums))
    assert found[0, 1] == pytest.approx(1, abs=1e-6)
    assert abs(found[0, 2]) < 0.02
    assert np.isnan(found[0, 3])


def test_too_few_images():
    part = grams([np.eye(3)])
    with pytest.raises(ValueError, match="4 or more"):
        hsic(part, part)
