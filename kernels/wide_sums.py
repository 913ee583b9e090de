"""Sums of float64 numbers that do not depend on their order, three words for each.

A number is cut into digits of 32 bits at fixed places, from 2^-1074 on, and each digit is added for itself, without
carries. Of every sum the three highest digits are kept, counted from the largest number that has come: 65 bits at
least. Digits below are left out of each number alike, so that the sum is the same in any order, and that of parts is
that of the whole (cf. J. Demmel and H. D. Nguyen, "Parallel Reproducible Summation", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel

# Digits of each sum, and what `top` says of one that a NaN or an infinite number went into.
_DIGITS = 3
_BROKEN = 127
_LEAST_BIT = -1074


@dataclass(frozen=True)
class WideSums:
    """Of up to 2^31 numbers each: `digits` int64 (n, 3), lowest first; `top` int8 (n,), the place of the third."""

    digits: NDArray[np.int64]
    top: NDArray[np.int8]

    def values(self) -> NDArray[np.float64]:
        """The sums, float64 (n,); NaN where a number was NaN or infinite."""
        found = np.zeros(len(self.top), np.float64)
        for place in range(_DIGITS):
            exponent = 32 * (self.top.astype(np.int32) - (_DIGITS - 1 - place)) + _LEAST_BIT
            # In two steps: the smallest unit is too small for a factor, the largest too large.
            found += np.ldexp(self.digits[:, place].astype(np.float64), exponent)
        found[self.top == _BROKEN] = np.nan
        return found


def no_wide_sums(count: int) -> WideSums:
    """`count` sums of nothing."""
    return WideSums(np.zeros((count, _DIGITS), np.int64), np.full(count, _DIGITS - 1, np.int8))


def add(sums: WideSums, values: ArrayLike) -> WideSums:
    """Add one number (n,) to each sum, in place. Returns `sums`. Raises ValueError for another number of them."""
    numbers = np.ascontiguousarray(values, np.float64)
    if numbers.shape != sums.top.shape:
        raise ValueError(f"values must have shape {sums.top.shape}, got {numbers.shape}")
    _add(sums.digits, sums.top, numbers.view(np.int64))
    return sums


def add_triangle(sums: WideSums, matrix: ArrayLike) -> WideSums:
    """Add the upper triangle of a matrix (n, n), row by row, to n (n + 1) / 2 sums, in place. Returns `sums`.

    Raises ValueError for a matrix that does not fit.
    """
    numbers = np.ascontiguousarray(matrix, np.float64)
    n = len(numbers)
    if numbers.shape != (n, n) or len(sums.top) != n * (n + 1) // 2:
        raise ValueError(f"the upper triangle of {numbers.shape} has not {len(sums.top)} numbers")
    start = 0
    for row, bits in enumerate(numbers.view(np.int64)):
        stop = start + n - row
        _add(sums.digits[start:stop], sums.top[start:stop], bits[row:])
        start = stop
    return sums


def triangle(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """The symmetric matrix (side, side) whose upper triangle, row by row, is `values`."""
    found = np.empty((side, side))
    rows, columns = np.triu_indices(side)
    found[rows, columns] = values
    found[columns, rows] = values
    return found


def merge(sums: WideSums, other: WideSums) -> WideSums:
    """Add the sums of `other`, in place. Returns `sums`. Raises ValueError for another number of them."""
    if sums.top.shape != other.top.shape:
        raise ValueError(f"there are {len(sums.top)} sums, but {len(other.top)} to add")
    _merge(sums.digits, sums.top, np.ascontiguousarray(other.digits), other.top)
    return sums


@kernel
def _raise(digits, top, n, wanted):  # type: ignore[no-untyped-def]
    """Move the window of sum n up to `wanted`; digits below it go."""
    by = wanted - top[n]
    for place in range(3):
        digits[n, place] = digits[n, place + by] if place + by < 3 else 0
    top[n] = wanted


@kernel
def _add(digits, top, bits):  # type: ignore[no-untyped-def]
    for n in range(len(top)):
        b = bits[n]
        exponent = (b >> 52) & 0x7FF
        mantissa = b & 0xFFFFFFFFFFFFF
        if top[n] == 127:
            continue
        if exponent == 0x7FF:
            _raise(digits, top, n, 127)
            continue
        if exponent:
            mantissa |= 0x10000000000000
            exponent -= 1
        if not mantissa:
            continue
        first, shift = exponent >> 5, exponent & 31
        # The mantissa, moved by up to 31 bits, in three digits.
        low = (mantissa << shift) & 0xFFFFFFFF
        rest = mantissa >> (32 - shift)
        middle, high = rest & 0xFFFFFFFF, rest >> 32
        highest = first + (2 if high else 1 if middle else 0)
        if highest > top[n]:
            _raise(digits, top, n, highest)
        sign = np.int64(-1) if b < 0 else np.int64(1)
        at = first - (top[n] - 2)
        if 0 <= at < 3:
            digits[n, at] += sign * low
        if 0 <= at + 1 < 3:
            digits[n, at + 1] += sign * middle
        if 0 <= at + 2 < 3:
            digits[n, at + 2] += sign * high


@kernel
def _merge(digits, top, more, above):  # type: ignore[no-untyped-def]
    for n in range(len(top)):
        if above[n] > top[n]:
            _raise(digits, top, n, above[n])
        if top[n] == 127:
            continue
        by = top[n] - above[n]
        for place in range(3 - by):
            digits[n, place] += more[n, place + by]
