"""Display ranges on maps whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels import normalize
from onnxray.kernels.normalize import minmax, percentile, symmetric

NOTHING = np.array([np.nan, np.inf, -np.inf])


def test_minmax():
    assert minmax(np.array([[3, -1], [2, 5]])) == (-1.0, 5.0)
    assert minmax([np.nan, 1.0, np.inf, -2.0, -np.inf]) == (-2.0, 1.0)
    assert minmax(np.array([True, False])) == (0.0, 1.0)


def test_symmetric():
    assert symmetric([3.0, -7.0, 1.0]) == (-7.0, 7.0)
    assert symmetric([3.0, np.nan, np.inf]) == (-3.0, 3.0)
    assert symmetric(np.zeros((4, 4))) == (-1.0, 1.0)


def test_percentile():
    values = np.arange(101.0)
    assert percentile(values, 5, 90) == (5.0, 90.0)
    assert percentile(values) == (1.0, 99.0)
    assert percentile(np.append(values, [np.nan, np.inf]), 5, 90) == (5.0, 90.0)
    assert percentile(-values, upper=90, signed=True) == (-90.0, 90.0)


def test_an_outlier_does_not_take_the_scale():
    values = np.random.default_rng(0).standard_normal(10_000)
    values[7] = 1e9
    lo, hi = percentile(values)
    assert -3 < lo < hi < 3


@pytest.mark.parametrize("constant", [0.0, 5.0, -2.0, 1e300, 1e-300])
def test_no_contrast(constant):
    values = np.full((3, 3), constant)
    for lo, hi in (minmax(values), percentile(values)):
        assert lo == constant
        assert lo < hi < np.inf
    lo, hi = symmetric(values)
    assert lo == -hi
    assert hi == (abs(constant) or 1.0)


def test_nearly_constant():
    """Where both percentiles fall on the same value, the few others still show."""
    values = np.zeros(1000)
    values[3] = 2.0
    assert percentile(values) == (0.0, 2.0)
    assert percentile(values, signed=True) == (-2.0, 2.0)


@pytest.mark.parametrize("values", [NOTHING, np.zeros((0, 3))])
def test_nothing_finite(values):
    assert minmax(values) == (0.0, 1.0)
    assert percentile(values) == (0.0, 1.0)
    assert symmetric(values) == (-1.0, 1.0)
    assert percentile(values, signed=True) == (-1.0, 1.0)


def test_misuse():
    with pytest.raises(ValueError, match="0 <= lower < upper <= 100"):
        percentile([1.0], 50, 50)
    with pytest.raises(ValueError, match="real numbers"):
        minmax(["a"])


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000, 50_000])
@pytest.mark.parametrize("upper", [50.0, 99.0, 99.5, 100.0])
def test_in_parts_the_ranges_are_the_same(count: int, upper: float) -> None:
    rng = np.random.default_rng(count)
    values = (rng.normal(size=count) * rng.choice([0, 1, 1e-30, 1e20], size=count)).astype(np.float32)
    values[rng.integers(0, count, count // 10)] = rng.choice([np.nan, np.inf, -np.inf])

    def parts() -> list[np.ndarray]:
        return np.array_split(values, 5)

    assert normalize.percentile_of_parts(parts, upper) == normalize.percentile(values, 0, upper, signed=True)
    assert normalize.symmetric_of_parts(parts) == normalize.symmetric(values)


def test_parts_without_numbers() -> None:
    nothing = [np.full(3, np.nan, np.float32)]
    assert normalize.percentile_of_parts(lambda: nothing) == (-1.0, 1.0)
    assert normalize.symmetric_of_parts(lambda: nothing) == (-1.0, 1.0)
