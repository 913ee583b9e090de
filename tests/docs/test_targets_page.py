"""docs/targets.md is what the registry says, and every target that it names can be read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from onnxray import Target
from onnxray.docs.make_target_pictures import PICTURES
from onnxray.docs.make_targets import SHOWN, page
from onnxray.engine.targets.registry import forms

PAGE = Path(__file__).resolve().parents[2] / "docs" / "targets.md"


def test_the_page_is_up_to_date() -> None:
    """If not: python docs/make_targets.py."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_target_of_the_recipes_is_read() -> None:
    texts = re.findall(r"--target ([^\s`]+)", page())
    assert len(texts) > 20
    for given in texts:
        text = given.strip("'").replace("\\|", "|")  # as the shell is given it, and not a cell of a table
        assert str(Target.parse(text)) == text
        assert text.partition(":")[0] in {*forms(), "scratch"}


def test_every_picture_is_there_and_small() -> None:
    """If not: python docs/make_target_pictures.py."""
    assert set(SHOWN) == set(PICTURES)
    for name in SHOWN:
        assert 0 < (PAGE.parent / "images" / f"target-{name}.jpg").stat().st_size < 40_000


def test_what_the_pictures_show() -> None:
    """The heat of a box, a component or a joint is where that is."""
    e, box = PICTURES["mean"]()
    assert box is not None
    y0, x0, y1, x1 = box
    heat = np.abs(e.heatmap)
    assert heat[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4].sum() > 0.999 * heat.sum()
    second, _ = PICTURES["instance"]()
    assert np.abs(second.heatmap[:, :56]).sum() == 0
    joint, _ = PICTURES["point"]()
    row, column = np.unravel_index(int(joint.heatmap.argmax()), joint.heatmap.shape)
    assert abs(int(row) - 30) < 6
    assert abs(int(column) - 74) < 6
