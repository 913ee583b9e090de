"""A file of JSON lines that is appended to, each line whole and on disk before the next step, or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...engine.errors import OutputError
from .manifest import plain


class Journal:
    """JSON lines, appended one by one; a context manager. A line that a killed process left half is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
            self._cut_torn_line()
        except OSError as error:
            raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error

    def _cut_torn_line(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            self._file.seek(start)
            block = self._file.read(end - start) or b""
            place = block.rfind(b"\n")
            if place >= 0:
                self._file.truncate(start + place + 1)
                return
            end = start
        self._file.truncate(0)

    def append(self, fields: Mapping[str, Any]) -> None:
        """Write a line and wait until it is on disk. Raises OutputError; the file is then as it was before."""
        line = (json.dumps(plain(fields), ensure_ascii=True, allow_nan=False) + "\n").encode()
        end = self._file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)
            raise OutputError(f"cannot write {str(self.path)!r}: {error.strerror or error}") from error

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines so far; what is no JSON object is passed over: anybody may have written it."""
        with self.path.open("rb") as file:
            for line in file:
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    yield found

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_BLOCK = 1 << 16
