"""`jsonl:FILE`, or `-` for stdout: one line of JSON for each image."""

from __future__ import annotations

import json
import sys
from collections import deque
from pathlib import Path

from ...engine.errors import OutputError
from ..files.journal import Journal
from ..files.manifest import plain
from .sink import Record

# The last records, among which one that comes twice is looked for.
_MOST = 4096


class JsonLines:
    """A file of JSON lines, each on disk before the next image."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def open(self) -> None:
        self._journal = Journal(self.path)
        self._known = set(deque((record.get("id") for record in self._journal.records()), maxlen=_MOST))

    def write(self, record: Record) -> None:
        if record.id not in self._known:
            self._journal.append({"id": record.id, **record.fields})
            self._known.add(record.id)
            if len(self._known) > 2 * _MOST:
                self._known.clear()

    def close(self) -> None:
        self._journal.close()


class Standard:
    """JSON lines on stdout."""

    def open(self) -> None: ...

    def write(self, record: Record) -> None:
        try:
            sys.stdout.write(json.dumps(plain({"id": record.id, **record.fields})) + "\n")
            sys.stdout.flush()
        except OSError as error:
            raise OutputError(f"cannot write to stdout: {error.strerror or error}") from error

    def close(self) -> None: ...
