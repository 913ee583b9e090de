"""The extremes of maps and where they are, in one pass over the values; and sums that do not depend on their order.

`Sums` adds float32 numbers exactly: as whole multiples of 2^-149, the smallest float32, in digits of 32 bits. So the
sum over all images is the same number however they were cut into batches and shards (cf. R. Neal, "Fast Exact Summation
Using Small and Large Superaccumulators", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .jit import kernel
from .threads import bands

# Digits of 32 bits: float32 reaches from 2^-149 to 2^128.
DIGITS = 10
# Values from which on work is shared by threads.
_LEAST = 1 << 15


@dataclass(frozen=True)
class Extremes:
    """Of maps (rows, places): each an array (rows,).

    highest, lowest: float32; highest_at, lowest_at: int32, their first places; mean, square: float32, the means of the
    values and of their squares; active: int64, how many values are above 0. NaN counts nowhere but in the mean.
    """

    highest: NDArray[np.float32]
    highest_at: NDArray[np.int32]
    lowest: NDArray[np.float32]
    lowest_at: NDArray[np.int32]
    mean: NDArray[np.float32]
    square: NDArray[np.float32]
    active: NDArray[np.int64]


def extremes(maps: ArrayLike, threads: int | None = None) -> Extremes:
    """Extremes of every row of `maps` (rows, places), taken as float32; equal values: the first place.

    A row of NaN alone has NaN, at place 0. Raises ValueError for another number of axes, or no places.
    """
    values = np.ascontiguousarray(maps, np.float32)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"maps must have shape (rows, places) with a place at least, got {values.shape}")
    rows = len(values)
    highest, lowest, mean, square = (np.empty(rows, np.float32) for _ in range(4))
    highest_at, lowest_at = (np.empty(rows, np.int32) for _ in range(2))
    found = Extremes(highest, highest_at, lowest, lowest_at, mean, square, np.empty(rows, np.int64))
    parts, bits = tuple(vars(found).values()), values.view(np.int32)
    bands(
        lambda start, stop: _extremes(values[start:stop], bits[start:stop], *(part[start:stop] for part in parts)),
        rows,
        threads,
        max(1, _LEAST // values.shape[1]),
    )
    return found


# Reordered sums, and comparisons that know no NaN, run over several values at once; rows are looked through first. A
# loop for each type: mixed in one, their numbers of several widths are not put into vectors.
@kernel(fastmath={"reassoc", "nnan"})
def _plain(row):  # type: ignore[no-untyped-def]
    high = low = row[0]
    for p in range(len(row)):
        high, low = max(high, row[p]), min(low, row[p])
    above = np.int32(0)
    for p in range(len(row)):
        above += np.int32(row[p] > np.float32(0))
    total = squares = 0.0
    for p in range(len(row)):
        x = np.float64(row[p])
        total += x
        squares += x * x
    return high, low, above, total, squares


@kernel
def _careful(row):  # type: ignore[no-untyped-def]
    high = low = row[0]
    above = 0
    total = squares = 0.0
    for p in range(len(row)):
        x = row[p]
        total += x
        squares += np.float64(x) * np.float64(x)
        above += x > 0
        # A NaN at the first place gives way to any number.
        if x > high or (high != high and x == x):
            high = x
        if x < low or (low != low and x == x):
            low = x
    return high, low, above, total, squares


@kernel
def _place(row, value):  # type: ignore[no-untyped-def]
    for p in range(len(row)):
        if row[p] == value:
            return p
    return 0


@kernel
def _extremes(values, bits, highest, highest_at, lowest, lowest_at, mean, square, active):  # type: ignore[no-untyped-def]
    rows, places = values.shape
    for r in range(rows):
        largest = np.int32(0)
        for p in range(places):
            largest = max(largest, bits[r, p] & np.int32(0x7FFFFFFF))
        if largest > 0x7F800000:  # a NaN
            high, low, above, total, squares = _careful(values[r])
        else:
            high, low, above, total, squares = _plain(values[r])
        highest_at[r], lowest_at[r] = _place(values[r], high), _place(values[r], low)
        # As it stands there: of equal numbers, 0 and -0, the first.
        highest[r], lowest[r] = values[r, highest_at[r]], values[r, lowest_at[r]]
        mean[r], square[r], active[r] = total / places, squares / places, above


@dataclass(frozen=True)
class Sums:
    """Exact sums of float32 numbers: digits int64 (units, 10). Two of them are merged by adding their digits.

    broken: int64 (units,), how many numbers were NaN or infinite; these are left out of the sum.
    """

    digits: NDArray[np.int64]
    broken: NDArray[np.int64]

    def values(self) -> NDArray[np.float64]:
        """The sums, float64 (units,)."""
        found = np.empty(len(self.digits), np.float64)
        for unit, digits in enumerate(self.digits):
            whole = sum(int(digit) << (32 * place) for place, digit in enumerate(digits))
            found[unit] = whole / (1 << 149)
        return found


def no_sums(units: int) -> Sums:
    """Sums of nothing."""
    return Sums(np.zeros((units, DIGITS), np.int64), np.zeros(units, np.int64))


def add(sums: Sums, values: ArrayLike) -> Sums:
    """Add `values` (n, units), taken as float32, in place; exact for up to 2^31 numbers. Returns `sums`.

    Raises ValueError for another number of units.
    """
    batch = np.ascontiguousarray(values, np.float32)
    if batch.ndim != 2 or batch.shape[1] != len(sums.digits):
        raise ValueError(f"values must have shape (n, {len(sums.digits)}), got {batch.shape}")
    _add(sums.digits, sums.broken, batch.view(np.int32))
    return sums


@kernel
def _add(digits, broken, bits):  # type: ignore[no-untyped-def]
    n, units = bits.shape
    for i in range(n):
        for u in range(units):
            b = np.int64(bits[i, u])
            exponent = (b >> 23) & 255
            mantissa = b & 0x7FFFFF
            if exponent == 255:
                broken[u] += 1
                continue
            if exponent:
                mantissa |= 0x800000
                exponent -= 1
            place, shift = exponent >> 5, exponent & 31
            number = mantissa << shift
            low, high = number & 0xFFFFFFFF, number >> 32
            if b < 0:
                low, high = -low, -high
            digits[u, place] += low
            digits[u, place + 1] += high
