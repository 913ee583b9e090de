"""Sums in any order and in any parts are the same, and those of Python's fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxray.kernels.wide_sums import WideSums, add, add_triangle, merge, no_wide_sums, triangle

finite = st.floats(allow_nan=False, allow_infinity=False)


def summed(numbers: list[float]) -> WideSums:
    sums = no_wide_sums(1)
    for number in numbers:
        add(sums, [number])
    return sums


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=30), st.randoms(), st.integers(0, 30))
def test_sums_are_the_same_in_any_order_and_any_parts(numbers, shuffle, cut):
    whole = summed(numbers)
    # 65 bits below the largest number at least.
    off = len(numbers) * max(abs(Fraction(n)) for n in numbers) / (1 << 64) + Fraction(1, 1 << 1074)
    exact = sum(map(Fraction, numbers), Fraction(0))
    if abs(exact) < Fraction(1 << 1023):
        assert abs(Fraction(float(whole.values()[0])) - exact) <= off + abs(exact) / (1 << 52)
    shuffle.shuffle(numbers)
    parts = merge(summed(numbers[:cut]), summed(numbers[cut:]))
    for again in (summed(numbers), parts):
        np.testing.assert_array_equal(again.digits, whole.digits)
        np.testing.assert_array_equal(again.top, whole.top)


@settings(deadline=None)
@given(finite)
def test_one_number_is_itself(number):
    assert summed([number]).values()[0] == number


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_makes_nan(bad):
    assert np.isnan(summed([1.0, bad, 2.0]).values()[0])
    assert np.isnan(merge(summed([1.0]), summed([bad])).values()[0])
    assert np.isnan(merge(summed([bad]), summed([1.0])).values()[0])
    np.testing.assert_array_equal(summed([bad, 1.0]).digits, summed([1.0, bad]).digits)


def test_triangles_are_those_of_symmetric_matrices():
    values = np.random.default_rng(0).normal(size=(5, 7, 7))
    matrices = values + values.transpose(0, 2, 1)
    sums = no_wide_sums(28)
    for matrix in matrices:
        add_triangle(sums, matrix)
    np.testing.assert_allclose(triangle(sums.values(), 7), matrices.sum(0), rtol=1e-14)


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        add(no_wide_sums(2), [1.0])
    with pytest.raises(ValueError, match="upper triangle"):
        add_triangle(no_wide_sums(2), np.eye(2))
    with pytest.raises(ValueError, match="to add"):
        merge(no_wide_sums(2), no_wide_sums(1))
