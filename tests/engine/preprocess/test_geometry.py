"""The geometry of images next to each other: that of each, side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxray.engine.preprocess.geometry import Geometry, PartGeometry, in_a_row

FIRST = Geometry((20, 24), (16, 16), (16, 19), (0, -2))  # cropped
SECOND = Geometry((15, 40), (12, 10), (4, 10), (4, 0))  # letterbox
ROW = in_a_row([FIRST, SECOND])


def test_points_go_to_their_own_image_and_back() -> None:
    assert (ROW.original, ROW.size) == ((20, 64), (16, 26))
    points = np.array([[3.0, 5.0], [8.5, 12.0], [2.0, 30.0], [14.0, 63.0]])
    found = ROW.to_model(points)
    np.testing.assert_allclose(found[:2], FIRST.to_model(points[:2]))
    np.testing.assert_allclose(found[2:], np.add(SECOND.to_model(points[2:] - (0, 24)), (0, 16)))
    np.testing.assert_allclose(ROW.to_original(found), points)


def test_maps_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 16, 26)).astype(np.float32)
    whole = ROW.to_image(maps, fill=np.nan)
    assert whole.shape == (2, 20, 64)
    np.testing.assert_array_equal(whole[:, :, :24], FIRST.to_image(maps[:, :, :16], fill=np.nan))
    np.testing.assert_array_equal(whole[:, :15, 24:], SECOND.to_image(maps[:, :12, 16:], fill=np.nan))
    assert np.isnan(whole[:, 15:, 24:]).all()
    for rows in ((0, 7), (10, 18), (16, 20)):
        np.testing.assert_array_equal(ROW.to_image(maps[0], fill=np.nan, rows=rows), whole[0, slice(*rows)])
    coarse = ROW.to_image(np.ones((4, 5), np.float32))
    assert coarse[:15, 24:].max() == 1
    assert ROW.to_mapping()["parts"] == [FIRST.to_mapping(), SECOND.to_mapping()]


PART = PartGeometry(SECOND.original, SECOND.size, SECOND.resized, SECOND.offset, part=SECOND, corner=(7, 11))
GEOMETRIES = [
    FIRST,
    SECOND,
    ROW,
    in_a_row([SECOND, FIRST, SECOND]),
    Geometry((20, 24), (16, 16), (16, 16), (0, 0)),  # all is seen
    Geometry((9, 8), (4, 4), (400, 4), (-200, 0)),  # hardly anything
    Geometry((9, 8), (4, 4), (4, 4), (90, 0)),  # nothing
    replace(PART, original=(31, 70)),
    replace(PART, original=(22, 51)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_what_is_not_seen_is_what_maps_do_not_reach(geometry: Geometry) -> None:
    """In all rows and in bands of them, each pixel once."""
    height = geometry.original[0]
    expected = np.isnan(geometry.to_image(np.zeros((1, 1), np.float32), "nearest", fill=np.nan))
    for first, last in [(0, height), (0, 1), (3, 8), (8, height), (height - 1, height)]:
        count = np.zeros((last - first, geometry.original[1]), int)
        for part in geometry.unseen((first, last)):
            assert count[part].size
            count[part] += 1
        np.testing.assert_array_equal(count, expected[first:last].astype(int))
    assert geometry.unseen() == geometry.unseen((0, height))
