"""The gallery: its page is current, its pictures are there, and its commands make the files that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxray.cli.files.images import read
from onnxray.docs.make_gallery import FIGURES, IMAGES, LARGEST, Figure, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert text == page(), "write it anew: python docs/make_gallery.py --page"
    assert re.findall(r"^onnxray (.*)$", text, re.MULTILINE) == [figure.command for figure in FIGURES]


def test_every_picture_is_there_small_and_shown() -> None:
    for figure in FIGURES:
        assert figure.picture.is_file(), "make it: python docs/make_gallery.py"
        assert figure.picture.stat().st_size <= LARGEST
        assert read(figure.picture).shape[1] >= 300
    assert {path.name for path in IMAGES.iterdir()} == {figure.picture.name for figure in FIGURES}


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_the_command_makes_the_file(figure: Figure, tmp_path: Path) -> None:
    if figure.command == "demo":
        pytest.skip("tests/cli/commands/test_demo.py runs it")
    assert read(figure.run(tmp_path / "out")).size
