"""`@list.txt`: a text file with one path per line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...engine.errors import ImageError
from ..files.find import expand
from ..files.remote import Remote, is_uri, path_of, read_remote
from .source import Selection, Source


def _paths(item: str, selection: Selection) -> Sequence[Path]:
    file = path_of(item[1:])
    try:
        data = read_remote(file) if isinstance(file, Remote) else file.read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"the list {str(file)!r} cannot be read: {reason}") from error
    return named_in(file, (line.strip() for line in lines), selection)


def named_in(file: Path, names: Iterable[str], selection: Selection) -> list[Path]:
    """The images that a file names, relative to the current folder or else to its own; empty names, and those that
    begin with #, are passed over. Raises ImageError."""
    found: list[Path] = []
    for name in names:
        if not name or name.startswith("#"):
            continue
        if is_uri(name):
            found.append(path_of(name))
            continue
        there = Path(name).exists() or Path(name).is_absolute()
        found += expand(name if there else str(file.parent / name), selection.recursive)
    if not found:
        raise ImageError(f"the list {str(file)!r} names no image: write one path per line")
    return found


SOURCE = Source("@list.txt", "a text file with one path per line", lambda item: item.startswith("@"), _paths)
