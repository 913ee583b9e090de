"""Blocks whose process ends again and again: they are done image by image, to find the one that ends it.

Ray starts a killed process again. Where it was an image that killed it (memory, a fault in a library), it would do so
for ever: from the fourth attempt on, the image in work is written down, and one at which two processes have ended
fails.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....engine.errors import OutputError
from ...files.manifest import read_manifest
from ...sources.share import Block

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Store

# Attempts at a block as a whole; ends of a process at an image after which it fails; attempts in all.
WHOLE, ENDS, MOST = 3, 2, 200


def attempt(store: Store, number: int) -> int:
    """How often a block has been begun, this time included. Raises OutputError: too often."""
    name = f"{number:08d}.attempts"
    count = 1 + (int(store.read(name)) if store.exists(name) else 0)
    if count > MOST:
        raise OutputError(
            f"the block {number} of {store.folder!r} has been begun {MOST} times: its process always ends"
        )
    store.write(name, str(count).encode())
    return count


def one_by_one(
    store: Store, number: int, block: Block, folder: Path, work: Callable[[Block, Path], None]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do a block image by image in `folder`; the head of the manifest, and the entries.

    work: does the images of a block in a folder of their own. Raises what `work` raises.
    """
    ends = _ends(store, number)
    head: dict[str, Any] = {}
    entries: list[dict[str, Any]] = []
    for place, path in enumerate(block.paths):
        if ends.get(str(place), 0) >= ENDS:
            error = f"{str(path)!r}: the process that worked on it has ended {ENDS} times: it takes too much memory, or"
            error += " a library fails on it"
            entries.append({"path": str(path), "status": "failed", "error": error})
            continue
        # Taken back when the image is done: what stays is the image at which the process has ended.
        store.write(_name(number), json.dumps({**ends, str(place): ends.get(str(place), 0) + 1}).encode())
        part = slice(place, place + 1)
        names, labels = block.names[part], block.labels[part]
        single = replace(block, paths=(path,), labels=labels, names=names, start=block.start + place, lenient=True)
        goal = folder.parent / f"{folder.name}-{place}"
        work(single, goal)
        found = read_manifest(goal)
        if found is None:
            raise OutputError(f"the block {number} left no manifest in {str(goal)!r}: is the disk full?")
        entries += found.pop("images")
        head = head or found
        _move(goal, folder)
    store.write(_name(number), json.dumps(ends).encode())
    if not head:
        raise OutputError(f"no image of the block {number} can be done: {entries[0]['error']}")
    return head, entries


def _ends(store: Store, number: int) -> dict[str, int]:
    """How many processes have ended at each image, by its place."""
    if not store.exists(_name(number)):
        return {}
    found: dict[str, int] = json.loads(store.read(_name(number)))
    return found


def _name(number: int) -> str:
    return f"{number:08d}.ends"


def _move(source: Path, goal: Path) -> None:
    """All files of a folder into another, but for the manifest; those that are there stay."""
    for path in [path for path in source.rglob("*") if path.is_file() and path.name != "manifest.json"]:
        there = goal / path.relative_to(source)
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            path.replace(there)
