"""Tiles of a page: sheets named once, nothing of a name is run."""

from __future__ import annotations

from pathlib import Path

import onnxray
from onnxray.cli.pages.microscope import write_pages
from onnxray.cli.pages.site_tiles import Tiles
from onnxray.cli.tasks.site.view import Sprite


def test_a_sheet_is_named_once_and_its_name_ends_no_style() -> None:
    tiles = Tiles("../../")
    sheet = ("layers/a</style><script>/x-0.jpg", 8, 8)
    first = tiles.tile(Sprite(sheet[0], 0, 0, *sheet[1:], (16, 32)), '"><script>')
    second = tiles.tile(Sprite(sheet[0], 7, 3, *sheet[1:], (16, 32)))
    assert 'class="tile s0"' in first
    assert 'class="tile s0"' in second
    assert "<script>" not in first
    assert 'style="--p:100% 42.8571%"' in second
    assert tiles.style.count("url(") == 1
    assert "aspect-ratio:32/16" in tiles.style
    assert "<" not in tiles.style
    assert tiles.tile(None, "words") == '<span class="tile empty" role="img" aria-label="words: no picture"></span>'


def test_pages_that_say_the_same_are_not_written_again(tmp_path: Path) -> None:
    onnxray.microscope("builtin", out=tmp_path, units="0-1", steps=1, picture_size=32, diverse=False, layers=["head"])
    pages = {page: (page.read_bytes(), page.stat().st_ino) for page in tmp_path.rglob("*.html")}
    (tmp_path / "index.html").write_text("something else")
    write_pages(tmp_path)
    for page, (data, number) in pages.items():
        assert page.read_bytes() == data
        assert page == tmp_path / "index.html" or page.stat().st_ino == number
