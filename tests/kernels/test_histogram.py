"""Histograms against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.histogram import BINS, edges, histogram, quantile


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_counts_are_numpys(scale):
    maps = (np.random.default_rng(0).normal(size=(3, 5, 200)) * scale).astype(np.float32)
    limits = edges()
    assert len(limits) == BINS + 1
    assert (np.diff(limits) > 0).all()
    found = histogram(maps)
    for unit in range(5):
        inside = np.clip(maps[:, unit].astype(np.float64), limits[0] * 0.999, limits[-1] * 0.999)
        wanted = np.histogram(inside, limits)[0]
        np.testing.assert_array_equal(found[unit], wanted)
    np.testing.assert_array_equal(found, sum(histogram(maps[n : n + 1], threads=1) for n in range(3)))


def test_zero_the_edges_and_what_is_no_number():
    found = histogram(np.float32([[[0.0, -0.0, 1e-9, 1.0, -1.0, np.nan, np.inf, -np.inf, 2.0**20]]]))[0]
    assert found.sum() == 8
    assert found[BINS // 2] == 3
    assert found[-1] == 2
    assert found[0] == 1
    with pytest.raises(ValueError, match="N, units, places"):
        histogram(np.zeros((2, 3)))


def test_quantiles_are_near():
    values = np.random.default_rng(3).normal(5, 2, size=(1, 2, 10_000)).astype(np.float32)
    for share in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(quantile(histogram(values), share), np.quantile(values[0], share, axis=1), rtol=0.13)
    assert np.isnan(quantile(np.zeros((1, BINS), np.int64), 0.5)).all()
