"""Which files belong to a model file: what lies in its folder, links followed. Needs no onnx."""

from __future__ import annotations

import os
from pathlib import Path


def home_of(path: Path) -> Path:
    """The folder whose files belong to a model file: that of the file, a link followed.

    In the Hugging Face cache, `snapshots/REVISION/` holds links to `blobs/HASH`: the files lie together under their
    names where the links are.
    """
    real = path.resolve()
    return path.parent.resolve() if _is_blob_of(real, path.parent.resolve()) else real.parent


def leaves(path: Path, folder: Path) -> bool:
    """Whether a file, links followed, lies outside `folder` (and not among the blobs of a Hugging Face cache)."""
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return not (real.is_relative_to(home) or _is_blob_of(real, home))


def _is_blob_of(real: Path, folder: Path) -> bool:
    """Whether `real` is a blob of the same Hugging Face repository as the snapshot that `folder` is, or lies in."""
    return real.parent.name == "blobs" and folder.is_relative_to(real.parent.parent / "snapshots")
