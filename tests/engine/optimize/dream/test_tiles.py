"""Windows cover an axis once, and lie inside it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.optimize.dream.tiles import spans


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("length", "tile", "overlap"), [(1000, 128, 16), (129, 128, 16), (300, 40, 8), (77, 20, 9)])
def test_every_pixel_counts_once(length: int, tile: int, overlap: int, seed: int) -> None:
    found = spans(length, tile, overlap, np.random.default_rng(seed))
    counted = np.concatenate([np.arange(s.first, s.last) for s in found])
    assert (counted == np.arange(length)).all()
    for span in found:
        assert span.start >= 0
        assert span.start + tile <= length
        assert span.first == 0 or span.first - span.start >= overlap
        assert span.last == length or span.start + tile - span.last >= overlap


def test_a_short_axis_is_one_window() -> None:
    (span,) = spans(100, 128, 16, np.random.default_rng(0))
    assert (span.start, span.first, span.last) == (0, 0, 100)


def test_windows_lie_elsewhere_every_time() -> None:
    places = {spans(1000, 128, 16, np.random.default_rng(seed))[1].start for seed in range(20)}
    assert len(places) > 1
    assert all(place % 32 == 0 for place in places)
