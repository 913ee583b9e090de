"""The hottest regions of a heatmap."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnxray.cli.figures import hottest_region
from onnxray.cli.figures.hottest_region import SIDES, Side, drawn, enlarged, hottest, hottest_of, line_width


@pytest.fixture
def heatmap() -> np.ndarray:
    """Two blobs: a large one of 4 x 6 pixels of 8, a small one of 2 x 2 around 10; and a cold one of -20."""
    values = np.full((20, 30), 0.5, np.float32)
    values[3:7, 5:11] = 8
    values[12:14, 20:22] = 9
    values[12, 21] = 10
    values[16:18, 2:4] = -20
    return values


def test_each_part_has_a_box_and_its_peak_and_the_hottest_comes_first(heatmap: np.ndarray) -> None:
    """Not the largest part: that misses the peak of many a map."""
    regions = hottest(heatmap, 0.5)
    assert np.array_equal(regions.mask, heatmap >= 5)
    assert regions.level == 5
    small, large = regions.parts
    assert (small.box, small.peak, small.value, small.area) == ((12, 20, 14, 22), (12, 21), 10, 4)
    assert (large.box, large.peak, large.value, large.area) == ((3, 5, 7, 11), (3, 5), 8, 24)
    assert {tuple(p) for p in large.outline} == {(3, 5), (6, 5), (6, 10), (3, 10)}
    assert regions.share == pytest.approx(28 / 600)


def test_the_mapping_states_the_order_of_its_numbers(heatmap: np.ndarray) -> None:
    plain = hottest(heatmap, 0.5).to_mapping()
    assert plain["box"] == [12, 20, 14, 22]
    assert plain["peak"] == [12, 21]
    assert plain["box_order"].startswith("y0, x0, y1, x1")
    assert plain["area"] == 28
    assert [part["value"] for part in plain["parts"]] == [10, 8]
    assert len(hottest(heatmap, 0.5).to_json()["parts"][1]["outline"]) == 4


def test_what_speaks_against_the_target_is_no_region_unless_asked_for(heatmap: np.ndarray) -> None:
    assert hottest(heatmap, 0.9).parts[0].value == 10
    (cold,) = hottest(heatmap, 0.9, "negative").parts
    assert (cold.box, cold.value) == ((16, 2, 18, 4), -20)
    assert hottest(heatmap, 0.9, "both").level == 18
    assert [part.value for part in hottest(heatmap, 0.4, "both").parts] == [-20, 10, 8]


def test_a_part_inside_the_hole_of_another_is_one() -> None:
    values = np.zeros((9, 9), np.float32)
    values[1:8, 1:8] = 1
    values[2:7, 2:7] = 0
    values[4, 4] = 3
    ring = hottest(values, 0.3).parts
    assert [(part.box, part.value) for part in ring] == [((4, 4, 5, 5), 3), ((1, 1, 8, 8), 1)]


def test_a_map_of_single_pixels_lists_the_strongest_parts() -> None:
    values = np.zeros((40, 40), np.float32)
    values[::2, ::2] = np.arange(1, 401, dtype=np.float32).reshape(20, 20)
    regions = hottest(values, 0.01)
    plain = regions.to_mapping()
    assert plain["parts_found"] == len(regions.parts) == 397
    assert [part["value"] for part in plain["parts"]] == list(range(400, 390, -1))


def test_a_higher_threshold_leaves_less(heatmap: np.ndarray) -> None:
    assert hottest(heatmap, 1.0).mask.sum() == 1
    assert hottest(heatmap, 0.85).mask.sum() == 4


@pytest.mark.parametrize("values", [np.zeros((4, 5)), np.full((4, 5), -1.0), np.full((4, 5), np.nan)])
def test_where_there_is_no_heat_there_is_no_region(values: np.ndarray) -> None:
    regions = hottest(values.astype(np.float32), 0.5)
    assert regions.parts == ()
    assert not regions.mask.any()
    assert regions.to_mapping()["box"] is None
    picture = np.full((4, 5, 3), 7, np.uint8)
    assert np.array_equal(drawn(picture, regions), picture)


def test_the_edge_is_white_inside_and_black_outside(heatmap: np.ndarray) -> None:
    picture = np.full((20, 30, 3), 100, np.uint8)
    out = drawn(picture, hottest(heatmap, 0.5))
    assert (out[3, 5:11] == 255).all()
    assert (out[2, 5:11] == 0).all()
    assert (out[19] == 100).all()


def test_lines_grow_with_the_picture() -> None:
    """One pixel is not seen in a picture of 12 million."""
    assert line_width(np.zeros((300, 400, 3), np.uint8)) == 1
    large = np.full((3000, 4000, 3), 100, np.uint8)
    values = np.zeros(large.shape[:2], np.float32)
    values[1000:2000, 1000:3000] = 1
    out = drawn(large, hottest(values, 0.5))
    column = out[900:1200, 2900, 0]
    assert (column == 255).sum() >= 8
    assert (column == 0).sum() >= 8


def test_peak_values_are_written_on_pictures_large_enough() -> None:
    values = np.zeros((400, 600), np.float32)
    values[100:150, 100:200] = 1
    out = drawn(np.full((400, 600, 3), 100, np.uint8), hottest(values, 0.5))
    assert (out[84:97, 102:118] != 100).any()
    assert (out[60:78] == 100).all()
    small = drawn(np.full((300, 300, 3), 100, np.uint8), hottest(values[:300, :300], 0.5))
    assert (small[80:97, 102:118] == 100).all()


def test_a_region_at_the_border_does_not_come_out_on_the_other_side() -> None:
    values = np.zeros((8, 8), np.float32)
    values[0, :3] = 1
    out = drawn(np.full((8, 8, 3), 100, np.uint8), hottest(values, 0.5))
    assert (out[7] == 100).all()
    assert (out[:, 7] == 100).all()


def test_small_pictures_are_enlarged_for_lines_and_numbers(heatmap: np.ndarray) -> None:
    picture = np.full((20, 30, 3), 100, np.uint8)
    larger, regions = enlarged(picture, hottest(heatmap, 0.5))
    assert larger.shape == (420, 630, 3)
    assert regions.parts[0].box == (252, 420, 294, 462)
    assert regions.mask[252:294, 420:462].all()
    assert enlarged(np.zeros((400, 400, 3), np.uint8), regions)[0].shape == (400, 400, 3)


@pytest.mark.parametrize("side", SIDES)
def test_a_heatmap_in_bands_has_the_same_regions(side: Side) -> None:
    """An image may be too large for its heatmap to be held whole."""
    rng = np.random.default_rng(0)
    heatmap = np.kron(rng.standard_normal((12, 9)), np.ones((5, 5))).astype(np.float32)
    heatmap[7, 3] = np.nan
    whole = hottest(heatmap, 0.3, side)
    found = hottest_of(lambda: [(slice(i, i + 7), heatmap[i : i + 7]) for i in range(0, 60, 7)], (60, 45), 0.3, side)
    assert np.array_equal(whole.mask, found.mask)
    assert whole.to_json() == found.to_json()


def test_edges_are_drawn_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    heatmap = np.kron(np.random.default_rng(1).standard_normal((9, 9)), np.ones((100, 60))).astype(np.float32)
    picture, regions = np.full((900, 540, 3), 100, np.uint8), hottest(heatmap, 0.4)
    whole = drawn(picture, regions)
    monkeypatch.setattr(hottest_region, "_ROWS", 37)
    assert np.array_equal(drawn(picture, regions), whole)
    assert drawn(picture, regions, in_place=True) is picture


def test_the_picture_of_a_large_mask_takes_no_more_than_itself() -> None:
    heat = np.zeros((2000, 2000), np.float32)
    heat[500:1500, 200:900] = 1
    regions = hottest(heat, 0.5)
    tracemalloc.start()
    picture = regions.picture
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.05 * picture.nbytes
    np.testing.assert_array_equal(picture, np.where(heat[..., None] > 0, 255, 0) * np.ones(3))
    assert picture.dtype == np.uint8
