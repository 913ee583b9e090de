"""Photos of a report: decoded one at a time, left out once they have changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from onnxray.cli.files.images import write
from onnxray.cli.tasks.subject import Photos


def test_photos_that_went_or_changed_are_left_out(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.png", np.full((n, 4, 3), n, np.uint8)) for n in (1, 2, 3)]
    said: list[str] = []
    photos = Photos([(path, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths], said.append)
    assert [(path, len(pixels)) for path, pixels in photos] == [(path, n) for n, path in enumerate(paths, 1)]
    write(paths[0], np.zeros((1, 4, 3), np.uint8))
    paths[2].unlink()
    assert [len(pixels) for _, pixels in photos] == [2]
    assert len(photos) == 3
    assert said[0].endswith("has changed: it is left out from here on")
    assert "cannot be read" in said[1]
