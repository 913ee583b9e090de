"""Sheets: tiles do not bleed into each other, the record comes back, half a file is no sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxray.cli.files.images import read
from onnxray.cli.files.sheet import read_record, sheet_of, write_sheet


def test_tiles_keep_to_themselves(tmp_path: Path) -> None:
    tiles = np.zeros((5, 16, 32, 3), np.uint8)
    tiles[1::2] = 255
    write_sheet(tmp_path / "a.jpg", tiles, 3, {"units": [4, 5]})
    pixels = read(tmp_path / "a.jpg")
    assert pixels.shape == (32, 96, 3)
    assert np.abs(pixels.astype(int) - sheet_of(tiles, 3)).max() <= 2
    assert read_record(tmp_path / "a.jpg") == {"units": [4, 5], "columns": 3, "rows": 2, "tile": [16, 32]}


def test_a_record_may_be_longer_than_a_segment(tmp_path: Path) -> None:
    record = {"names": ["name é " * 3000 for _ in range(12)]}
    write_sheet(tmp_path / "a.jpg", np.zeros((1, 16, 16, 3), np.uint8), 1, record)
    found = read_record(tmp_path / "a.jpg")
    assert found is not None
    assert found["names"] == record["names"]
    assert read(tmp_path / "a.jpg").shape == (16, 16, 3)


@pytest.mark.parametrize("part", [b"", b"\xff\xd8", b"text"])
def test_what_is_no_sheet_has_no_record(part: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(part)
    assert read_record(tmp_path / "a.jpg") is None
    assert read_record(tmp_path / "b.jpg") is None


def test_half_a_sheet_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write_sheet(path, np.zeros((4, 16, 16, 3), np.uint8), 2, {})
    path.write_bytes(path.read_bytes()[:-20])
    assert read_record(path) is None
