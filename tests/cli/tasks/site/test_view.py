"""What stands for a unit in grids."""

from __future__ import annotations

from dataclasses import replace

from onnxray.cli.tasks.site.view import Sprite, UnitView

PICTURE, CROP = (Sprite(f"{name}.jpg", 0, 0, 1, 1, (64, 64)) for name in ("strongest", "crops"))


def test_a_unit_without_a_picture_shows_its_strongest_crop() -> None:
    unit = UnitView(3, "unit 3", crops=(CROP,), numbers={"lowest": -1.0, "highest": 2.0})
    assert replace(unit, strongest=PICTURE).tile == PICTURE
    assert unit.tile == CROP
    assert replace(unit, crops=()).tile is None


def test_the_crop_of_a_unit_of_one_value_says_nothing() -> None:
    assert UnitView(3, "unit 3", crops=(CROP,), numbers={"lowest": 0.0, "highest": 0.0}).tile is None
