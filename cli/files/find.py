"""Which image files a command is about: files, folders and patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...engine.errors import ImageError, nearest
from .image_headers import FORMATS

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp"),
    *(".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".jp2", ".j2k"),
)
# Of arrays, which a pattern must name: maps of earlier runs lie in folders, too.
ARRAYS = (".npy", ".npz")


def find(items: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The image files that files, folders and glob patterns name, in the order given, each once.

    A folder gives the images right in it, in natural order (2 before 10); `**` in a pattern descends. A file is taken
    whatever its name. Raises ImageError for a path that does not exist, a folder or pattern without an image.
    """
    if isinstance(items, (str, os.PathLike)):
        items = [items]
    found: dict[Path, None] = {}
    for item in items:
        found.update(dict.fromkeys(expand(os.fspath(item))))
    if not found:
        raise ImageError("no image was named")
    return list(found)


def expand(item: str, recursive: bool = False) -> Sequence[Path]:
    """The image files of one file, folder or pattern. recursive: those in folders of a folder as well.

    Raises ImageError.
    """
    path = Path(item)
    try:
        if path.is_dir():
            inside = path.rglob("*") if recursive else path.iterdir()
            images = [p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file()]
            if not images:
                raise ImageError(f"the folder {item!r} has no image in it ({', '.join(SUFFIXES)})")
            return sorted(images, key=natural)
        if path.exists():
            return [path]
        if not glob.has_magic(item):
            siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            close = nearest(path.name, siblings)
            hint = f"; nearest: {', '.join(map(repr, close))}" if close else ""
            raise ImageError(f"there is no file or folder {item!r}{hint}")
        matches = [Path(p) for p in glob.glob(item, recursive=True)]
        wanted = ARRAYS if item.lower().endswith(ARRAYS) else SUFFIXES
        images = [p for p in matches if p.suffix.lower() in wanted and p.is_file()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{item!r} cannot be read: {reason}") from error
    if not images:
        what = f"matches {len(matches)} files, none of them an image" if matches else "matches no file"
        raise ImageError(f"the pattern {item!r} {what}; supported are {FORMATS}")
    return sorted(images, key=natural)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A sorting key: numbers by value, everything else as text whatever its case."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p.casefold()) for p in parts] + [
        (1, 0, str(path))
    ]
