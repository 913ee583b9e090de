"""What is measured of a map, against its definition."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxray.cli.files.images import write
from onnxray.cli.tasks.measures import Measures, read_part
from onnxray.engine.errors import ImageError, ShapeError


@pytest.fixture
def map_() -> Any:
    heat = np.zeros((40, 60), np.float32)
    heat[10:15, 20:30] = 2.0
    heat[12, 27] = 4.0
    heat[30:32, 50:52] = 3.0
    heat[0, 0] = -9.0
    return SimpleNamespace(heatmap=heat)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_the_hottest_region(map_: Any) -> None:
    found = Measures(0.5, mm=0.1).of(map_)
    assert (found["box"], found["peak"], found["area"]) == ([10, 20, 15, 30], [12, 27], 50)
    assert found["share"] == 50 / 2400
    assert found["area_mm2"] == pytest.approx(0.5)
    assert found["box_mm"] == pytest.approx([1.0, 2.0, 1.5, 3.0])
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((40, 60), np.uint8)
    mask[10:15, 20:30] = 1
    np.testing.assert_array_equal(coco.decode(found["rle"]), mask)
    xs, ys = found["polygons"][0][::2], found["polygons"][0][1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == (20, 29, 10, 14)


def test_the_heat_on_a_part(map_: Any) -> None:
    part = np.zeros((40, 60), np.bool_)
    part[28:, 45:] = True
    found = Measures(0.5, part, 0.5).of(map_)["part"]
    assert found["share_of_heat"] == pytest.approx(12 / 114)
    assert found["distance"] == pytest.approx(np.hypot(16, 18))
    assert found["distance_mm"] == pytest.approx(np.hypot(16, 18) / 2)
    part[12, 27] = True
    assert Measures(0.5, part).of(map_)["part"]["distance"] == 0.0


def test_maps_without_heat(map_: Any) -> None:
    found = Measures(0.5, np.ones((3, 3), np.bool_)).of(SimpleNamespace(heatmap=np.zeros((3, 3), np.float32)))
    assert (found["box"], found["area"], found["part"]) == (None, 0, {"share_of_heat": 0.0, "distance": None})


def test_masks_that_do_not_fit(map_: Any, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="has 3 x 2 pixels, the image 60 x 40"):
        Measures(0.5, np.ones((2, 3), np.bool_)).of(map_)
    with pytest.raises(ImageError, match="is empty"):
        read_part(write(tmp_path / "none.png", np.zeros((4, 4, 3), np.uint8)))
    assert read_part(write(tmp_path / "all.png", np.full((4, 4, 3), 200, np.uint8))).all()
