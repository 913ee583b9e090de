"""Extremes against NumPy; exact sums against Python's fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxray.kernels.extremes import add, extremes, no_sums


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 201)])
def test_extremes_are_numpys(shape):
    values = np.random.default_rng(shape[0]).normal(size=shape).astype(np.float32)
    for threads in (1, None):
        found = extremes(values, threads)
        np.testing.assert_array_equal(found.highest, values.max(1))
        np.testing.assert_array_equal(found.highest_at, values.argmax(1))
        np.testing.assert_array_equal(found.lowest, values.min(1))
        np.testing.assert_array_equal(found.lowest_at, values.argmin(1))
        np.testing.assert_array_equal(found.active, (values > 0).sum(1))
        np.testing.assert_allclose(found.mean, values.mean(1, dtype=np.float64), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found.square, (values.astype(np.float64) ** 2).mean(1), rtol=1e-6)


def test_equal_values_give_the_first_place_and_nan_gives_way():
    found = extremes(np.float32([[2, 5, 5, 1, 1], [np.nan, -1, np.nan, 3, -1], [np.nan] * 5]))
    assert found.highest_at.tolist() == [1, 3, 0]
    assert found.lowest_at.tolist() == [3, 1, 0]
    assert found.highest[:2].tolist() == [5, 3]
    assert np.isnan(found.highest[2])


@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="rows, places"):
        extremes(np.zeros(shape))


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40), st.randoms())
def test_sums_are_exact_in_any_order(numbers, shuffle):
    wanted = float(sum(map(Fraction, numbers)))
    sums = add(no_sums(1), np.float32(numbers)[:, None])
    assert sums.values()[0] == wanted
    shuffle.shuffle(numbers)
    again = no_sums(1)
    for number in numbers:
        add(again, np.float32([[number]]))
    np.testing.assert_array_equal(again.digits, sums.digits)


def test_what_is_not_finite_is_counted_apart():
    sums = add(no_sums(2), np.float32([[1, np.nan], [np.inf, 2]]))
    assert sums.values().tolist() == [1, 2]
    assert sums.broken.tolist() == [1, 1]


def test_sums_of_other_units_are_refused():
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        add(no_sums(2), np.zeros((3, 1)))
