"""Means, intervals and paired comparisons: against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from onnxray.engine.evaluate.statistics import aggregate, compared

RNG = np.random.default_rng(7)


def test_the_interval_is_the_percentile_bootstrap() -> None:
    values = RNG.standard_normal(40)
    found = aggregate(values)
    wanted = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=1).confidence_interval
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.03)
    assert np.isnan(aggregate([2.0]).low)


def test_paired_comparison() -> None:
    a = RNG.standard_normal(30)
    b = a - 0.2 + 0.3 * RNG.standard_normal(30)
    b[3] = np.nan
    found = compared(("one", a), ("two", b), "insertion", True)
    both = np.isfinite(b)
    wanted = stats.permutation_test((a[both] - b[both],), np.mean, permutation_type="samples", n_resamples=20000, rng=1)
    assert found.count == 29
    assert found.difference == pytest.approx((a - b)[both].mean())
    assert found.p == pytest.approx(wanted.pvalue, abs=0.02)
    assert found.low < found.difference < found.high
    assert found.wins == pytest.approx((a[both] > b[both]).mean())
    assert compared(("one", a), ("two", b), "deletion", False).wins == pytest.approx(1 - found.wins)
    with pytest.raises(ValueError, match="share no image"):
        compared(("one", [np.nan]), ("two", [1.0]), "deletion", False)
