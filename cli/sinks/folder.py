"""`folder:DIR`: the map, its overlay and its data for each explanation, under names that two images never share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.atomic import atomic, leftover
from ..files.manifest import plain
from ..files.names import slug
from ..files.rle import from_rle
from .sink import Record

if TYPE_CHECKING:
    from ...engine.attribution.explanation import Explanation


class Folder:
    """Files of each image: NAME-ID-METHOD.npy, -overlay.png and, of the hottest region, -mask.png; and NAME-ID.json.

    Each is written whole or not at all.
    """

    def __init__(self, path: str) -> None:
        self.folder = Path(path)

    def open(self) -> None:
        if self.folder.is_dir():
            for file in self.folder.iterdir():
                if leftover(file.name):  # of a process that was killed
                    file.unlink(missing_ok=True)

    def write(self, record: Record) -> None:
        import numpy as np

        from ..files.images import write

        regions = [entry.get("region") or {} for entry in record.fields.get("maps", ())]
        for number, (name, e) in enumerate(named(record)):
            with atomic(self.folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, e.values, allow_pickle=False)
            write(self.folder / f"{name}-overlay.png", e.overlay())
            if number < len(regions) and (rle := regions[number].get("rle")) is not None:
                write(self.folder / f"{name}-mask.png", from_rle(rle).astype(np.uint8) * 255)
        with atomic(self.folder / f"{base_of(record)}.json") as temporary:
            text = json.dumps(plain({"id": record.id, **record.fields}), indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")

    def close(self) -> None: ...


def base_of(record: Record) -> str:
    """The name of an image's files: its own, and the beginning of its id."""
    return f"{slug(record.path.stem)}-{record.id[:10]}"


def named(record: Record) -> Iterator[tuple[str, Explanation]]:
    """The explanations with the names of their files."""
    several = len(record.explanations) > 1
    for number, e in enumerate(record.explanations):
        yield f"{base_of(record)}-{e.method}{f'-{number}' if several else ''}", e
