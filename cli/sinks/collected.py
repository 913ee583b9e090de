"""Sinks whose file is of one piece: what belongs in it is kept line by line, and the file made of that."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...engine.atomic import atomic
from ...engine.errors import OutputError
from ..files.journal import Journal
from .sink import Record

# Seconds between two writings of the file, at least; and how many times as long as the last one took.
_FLUSH, _FLUSH_TIMES = 1.0, 20.0
# What `#only=` chooses of the hottest region.
SHAPES = ("box", "mask")


class Collected(ABC):
    """A file that is written anew, whole or not at all, now and then and at the end.

    Next to it, FILE.items.jsonl has a line for each image, on disk before the next one: after a kill, the file is made
    of that at the next start. Whoever removes both begins anew. Images without a map are left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def item(self, record: Record) -> Mapping[str, Any]:
        """What the file needs of an image that has a map."""

    @abstractmethod
    def lines(self, items: list[dict[str, Any]]) -> Iterator[str]:
        """The file."""

    def open(self) -> None:
        self._journal = Journal(self.path.with_name(f"{self.path.name}.items.jsonl"))
        self._items = [item for item in self._journal.records() if isinstance(item.get("id"), str)]
        self._known = {item["id"] for item in self._items}
        try:
            self._flush()
        except OutputError:
            self._journal.close()
            raise

    def write(self, record: Record) -> None:
        if record.id not in self._known and record.pixels is not None and record.fields.get("maps"):
            item = {"id": record.id, **self.item(record)}
            self._journal.append(item)
            self._known.add(record.id)
            self._items.append(item)
            self._is_due = True
        if self._is_due and time.monotonic() >= self._next:
            self._flush()

    def close(self) -> None:
        if self._is_due:
            self._flush()
        self._journal.close()

    def _flush(self) -> None:
        start = time.monotonic()
        with atomic(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(self.lines(self._items))
        self._is_due, self._next = False, time.monotonic() + max(_FLUSH, _FLUSH_TIMES * (time.monotonic() - start))


def settings_of(text: str, known: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """`FILE#NAME=VALUE&...` in its parts; `known` says what each setting is. Raises OutputError for another one."""
    name, mark, rest = text.rpartition("#")
    if not mark or "=" not in rest:
        return Path(text), {}
    pairs = dict(pair.partition("=")[::2] for pair in rest.split("&"))
    for key in pairs:
        if key not in known:
            raise OutputError(f"'#{key}=' is not known: {'; '.join(f'#{n}={words}' for n, words in known.items())}")
    return Path(name), pairs


def shapes_of(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Which shapes are written: `#only=box` or `#only=mask`, by default both. Raises OutputError for others."""
    only = settings.get("only")
    if only is not None and only not in SHAPES:
        raise OutputError(f"'#only={only}' is not known: there are {', '.join(SHAPES)}")
    return SHAPES if only is None else (only,)


def label_of(entry: Mapping[str, Any]) -> str:
    """The name of the explained class, without its number."""
    label, target = str(entry.get("label") or ""), str(entry.get("target"))
    return label.removesuffix(f" ({target})") or target
