"""The hottest region of a heatmap."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.cli.figures.hottest_region import drawn, hottest


@pytest.fixture
def heatmap() -> np.ndarray:
    """Two blobs: one of 4 x 6 pixels around 10, one of 2 x 2 of 8; and a cold one of -20."""
    values = np.full((20, 30), 0.5, np.float32)
    values[3:7, 5:11] = 9
    values[4, 8] = 10
    values[12:14, 20:22] = 8
    values[16:18, 2:4] = -20
    return values


def test_what_lies_above_the_threshold(heatmap: np.ndarray) -> None:
    region = hottest(heatmap, 0.5, signed=False)
    assert np.array_equal(region.mask, heatmap >= 5)
    assert region.level == 5
    assert region.box == (3, 5, 7, 11)
    assert region.peak == (4, 8)
    assert region.share == pytest.approx(28 / 600)
    assert len(region.outlines) == 2
    assert {tuple(p) for p in region.outlines[0]} == {(3, 5), (6, 5), (6, 10), (3, 10)}
    plain = region.to_mapping()
    assert plain["box"] == [3, 5, 7, 11]
    assert plain["area"] == 28
    assert plain["outlines"][1] == region.outlines[1].tolist()


def test_signed_maps_count_by_magnitude(heatmap: np.ndarray) -> None:
    region = hottest(heatmap, 0.9, signed=True)
    assert region.box == (16, 2, 18, 4)
    assert region.level == 18


def test_a_higher_threshold_leaves_less(heatmap: np.ndarray) -> None:
    assert hottest(heatmap, 1.0, signed=False).mask.sum() == 1
    assert hottest(heatmap, 0.85, signed=False).mask.sum() == 24


@pytest.mark.parametrize("values", [np.zeros((4, 5)), np.full((4, 5), -1.0), np.full((4, 5), np.nan)])
def test_where_there_is_no_heat_there_is_no_region(values: np.ndarray) -> None:
    region = hottest(values.astype(np.float32), 0.5, signed=False)
    assert region.box is None
    assert region.outlines == ()
    assert not region.mask.any()
    picture = np.full((4, 5, 3), 7, np.uint8)
    assert np.array_equal(drawn(picture, region), picture)


def test_the_edge_is_white_inside_and_black_outside(heatmap: np.ndarray) -> None:
    picture = np.full((20, 30, 3), 100, np.uint8)
    out = drawn(picture, hottest(heatmap, 0.5, signed=False))
    assert (out[3, 5:11] == 255).all()
    assert (out[2, 5:11] == 0).all()
    assert (out[4, 6:10] == 100).all()
    assert (out[19] == 100).all()


def test_a_region_at_the_border_does_not_come_out_on_the_other_side() -> None:
    values = np.zeros((8, 8), np.float32)
    values[0, :3] = 1
    out = drawn(np.full((8, 8, 3), 100, np.uint8), hottest(values, 0.5, signed=False))
    assert (out[7] == 100).all()
    assert (out[:, 7] == 100).all()
