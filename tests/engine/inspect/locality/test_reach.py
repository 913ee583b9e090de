"""Intervals against counting."""

from __future__ import annotations

import numpy as np

from onnxray.engine.inspect.locality.reach import Reach, union


def test_reaches() -> None:
    """Position p of an output reads floor((p num + low) / den) ... floor((p num + high) / den): both ways agree."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        num, den = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        low = int(rng.integers(-6, 4))
        reach = Reach(num, den, low, low + int(rng.integers(0, 9)))
        p = np.arange(40)
        first, last = (p * num + reach.low) // den, (p * num + reach.high) // den
        a = int(rng.integers(-3, 12))
        b = a + int(rng.integers(1, 5))
        touched = np.flatnonzero((first < b) & (last >= a))
        (got,) = reach.forward(np.array([[a, b]]), 40)
        assert list(range(*got)) == touched.tolist()
        out = int(rng.integers(0, 30))
        (need,) = reach.backward(np.array([[out, out + 4]]))
        assert tuple(need) == (first[out], last[out + 3] + 1)


def test_union() -> None:
    a = np.array([[1, 4], [7, 9]])
    assert union(None, a) is a
    assert union(a, np.array([[2, 6], [3, 8]])).tolist() == [[1, 6], [3, 9]]
