"""Image files with their classes: folders whose subfolders are named as the classes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .find import SUFFIXES, find, natural
from .remote import is_uri, listed, path_of

if TYPE_CHECKING:
    from ...engine.preprocess.card import Card
    from ...engine.survey.pictures import Picture


def find_labelled(items: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[tuple[Path, str | None]]:
    """The image files that files, folders and patterns name, each once, with their classes.

    A folder without images whose subfolders hold some gives these, and the subfolders' names are the classes;
    everything else is as `find` has it, without a class. Raises ImageError.
    """
    found: dict[Path, str | None] = {}
    for item in [items] if isinstance(items, (str, os.PathLike)) else items:
        if is_uri(os.fspath(item)):
            found.update(_in_bucket(os.fspath(item)))
            continue
        for path, label in _inside(Path(item)) or [(path, None) for path in find(item)]:
            found.setdefault(path, label)
    return list(found.items()) or [(path, None) for path in find([])]


def _in_bucket(uri: str) -> dict[Path, str | None]:
    """Images of a bucket; where they lie in folders of their own, these are their classes."""
    paths = sorted(listed(uri, SUFFIXES, recursive=True), key=natural)
    depth = len(path_of(uri).parts)
    named = all(len(path.parts) == depth + 2 for path in paths)
    return {path: path.parent.name if named else None for path in paths}


def _inside(folder: Path) -> list[tuple[Path, str | None]]:
    """Images in subfolders; none where the folder has images of its own, or cannot be read."""
    try:
        if not folder.is_dir() or any(_is_image(path) for path in folder.iterdir()):
            return []
        classes = sorted((path for path in folder.iterdir() if path.is_dir()), key=natural)
        return [(p, sub.name) for sub in classes for p in sorted(filter(_is_image, sub.iterdir()), key=natural)]
    except (OSError, ValueError):
        return []


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def pictures(files: Iterable[tuple[Path, str | None]], card: Card | None = None) -> Iterator[Picture]:
    """The files decoded, one by one, as a model's card reads them. Raises ImageError."""
    from ...engine.survey.pictures import Picture
    from .photos import read_photo

    for path, label in files:
        again = partial(read_photo, path, card)
        yield Picture(str(path), again(), label, again)
