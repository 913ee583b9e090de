"""Rows that survive a kill, and the tables made of them."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


GRACE = 6.0  # seconds that a section gets to end an item


class Section:
    """One section of the run, in a process of its own: its rows go to a file line by line, so that a kill keeps them.

    `deadline` is a time.monotonic(). `quick`: small sizes, to try the script. `provider`: that is measured, "" before
    one is chosen.
    """

    def __init__(
        self, name: str, file: Path, deadline: float, quick: bool, work: Path, zoo: Path | None, provider: str = ""
    ) -> None:
        self.name, self.file, self.deadline, self.quick, self.work, self.zoo = name, file, deadline, quick, work, zoo
        self.provider = provider.removesuffix("ExecutionProvider")

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def row(self, table: str, item: str, **fields: Any) -> None:
        about = {"section": self.name, "table": table, "item": item}
        if self.provider:
            about["provider"] = self.provider
        line = json.dumps({**about, **fields}, default=_plain)
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (line + "\n").encode())  # one write: several processes may append
        finally:
            os.close(descriptor)

    @contextmanager
    def item(self, table: str, item: str, need: float = 1.0, **fields: Any) -> Iterator[dict[str, Any]]:
        """One row: fill the mapping that it yields. Any error becomes the row's `error`."""
        found: dict[str, Any] = dict(fields)
        try:
            yield found
        except Exception as error:
            found["error"] = short(error)
            found["trace"] = traceback.format_exc()[-1500:]
        self.row(table, item, **found)

    def due(self, table: str, item: str, need: float, **fields: Any) -> bool:
        """Whether there is time for an item of `need` seconds; if not, the row says that it was not measured."""
        if self.left() >= need:
            return True
        self.row(table, item, **fields, error="not measured: no time left")
        return False


def _plain(thing: Any) -> Any:
    if isinstance(thing, np.generic):
        return thing.item()
    if isinstance(thing, np.ndarray):
        return thing.tolist()
    return str(thing)


def write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def markdown(title: str, about: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as tables, one per `table`; long lists and traces are left to the JSON."""
    lines = [f"# {title}", "", *about]
    for table in dict.fromkeys(row["table"] for row in rows):
        mine = [row for row in rows if row["table"] == table]
        hidden = {"section", "table", "trace", "cpu", "sample", "list"}
        columns = [c for c in dict.fromkeys(c for row in mine for c in row) if c not in hidden]
        lines += ["", f"## {table}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        for row in mine:
            lines.append("| " + " | ".join(_cell(row.get(c)) for c in columns) + " |")
    return "\n".join(lines) + "\n"


def _cell(thing: Any) -> str:
    if thing is None:
        return ""
    if isinstance(thing, float):
        return f"{thing:.3g}" if abs(thing) < 1000 else f"{thing:.0f}"
    return str(thing).replace("|", "\\|").replace("\n", " ")[:160]
