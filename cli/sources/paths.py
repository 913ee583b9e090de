"""Files, folders and patterns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files.find import expand
from .source import Selection, Source


def _paths(item: str, selection: Selection) -> Sequence[Path]:
    return expand(item, selection.recursive)


SOURCE = Source("FILE, FOLDER, 'PATTERN*.png'", "images; of a folder those in it, with -r in all below", bool, _paths)
