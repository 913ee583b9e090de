"""A sheet of tiles of one size as a JPEG, with a record about them in the same file: both are there, or none.

The record stands as JSON in comment segments. Sides of tiles are multiples of 16 pixels, the blocks of JPEG: no tile
shows anything of its neighbour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.atomic import atomic
from .images import encode
from .manifest import plain

BLOCK = 16
_MARK = b"onnxray sheet\n"
_MOST = 65533 - len(_MARK)
_START, _COMMENT, _END = b"\xff\xd8", b"\xff\xfe", b"\xff\xd9"


def sheet_of(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """(rows * h, columns * w, 3) of tiles (n, h, w, 3), row by row; empty places are gray."""
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    whole = np.full((rows * columns, height, width, 3), 128, np.uint8)
    whole[:count] = tiles
    grid = whole.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, 3))


def write_sheet(path: Path, tiles: NDArray[np.uint8], columns: int, record: Mapping[str, Any]) -> None:
    """Write tiles, uint8 (n, h, w, 3) with n at least 1, and what is to be known of them. Raises OutputError."""
    about = {"columns": columns, "rows": -(-len(tiles) // columns), "tile": list(tiles.shape[1:3])}
    text = json.dumps(plain({**record, **about}), ensure_ascii=True, sort_keys=True).encode()
    parts = [text[at : at + _MOST] for at in range(0, len(text), _MOST)]
    comments = b"".join(_COMMENT + (len(_MARK) + len(part) + 2).to_bytes(2, "big") + _MARK + part for part in parts)
    picture = encode(sheet_of(tiles, columns), ".jpg", 88)
    with atomic(path) as temporary:
        temporary.write_bytes(_START + comments + picture[2:])


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a sheet; None for a file that is no whole sheet."""
    try:
        with path.open("rb") as file:
            found = _record(file.read(1 << 24))
            file.seek(-2, 2)
            whole = file.read(2) == _END
    except OSError:
        return None
    return found if whole else None


def _record(data: bytes) -> dict[str, Any] | None:
    at, text = 2, b""
    while data[:2] == _START and data[at : at + 2] == _COMMENT and data[at + 4 :].startswith(_MARK):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        text += data[at + 4 + len(_MARK) : at + 2 + length]
        at += 2 + length
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
