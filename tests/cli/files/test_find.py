"""Which files folders, patterns and names stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxray.cli.files.find import find
from onnxray.engine.errors import ImageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("img10.png", "img2.PNG", "Img1.jpg", "deep/x.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_folders_globs_and_files_in_natural_order(folder: Path) -> None:
    def names(*items: Any) -> list[str]:
        return [p.name for p in find(items)]

    assert names(folder) == ["Img1.jpg", "img2.PNG", "img10.png"]
    assert names(str(folder / "*.png")) == ["img10.png"]
    assert names(str(folder / "img*")) == ["img2.PNG", "img10.png"]
    assert names(str(folder / "**")) == ["x.webp", "Img1.jpg", "img2.PNG", "img10.png"]
    assert names(folder / "img10.png", folder) == ["img10.png", "Img1.jpg", "img2.PNG"]
    assert names(folder / "notes.txt") == ["notes.txt"]
    assert find(folder / "img10.png") == [folder / "img10.png"]


def test_a_file_whose_name_looks_like_a_pattern(folder: Path) -> None:
    (folder / "a[1].png").write_bytes(b"")
    assert find(str(folder / "a[1].png")) == [folder / "a[1].png"]


def test_nothing_found(folder: Path) -> None:
    (folder / "empty").mkdir()
    for item, match in {
        folder / "empty": r"the folder .*empty' has no image in it \(\.jpg",
        folder / "img3.png": "there is no file or folder .*nearest: 'img2.PNG'|'img10.png'",
        folder / "*.gif": "matches no file",
        folder / "*.txt": "matches 1 files, none of them an image",
        Path("a\0b"): "null|there is no file",
    }.items():
        with pytest.raises(ImageError, match=match) as caught:
            find(str(item))
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="no image was named"):
        find([])
