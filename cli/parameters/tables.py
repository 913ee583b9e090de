"""Options about tables: which rows and columns, and what they are compared with."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..terminal.help import TABLES
from .options import option

F = TypeVar("F", bound=Callable[..., Any])
# Rows that are explained where none is named.
FIRST = 10


@dataclass(frozen=True)
class TableOptions:
    """rows: numbers of the rows that are explained, from 0, None for all, () for the first ones. columns: those that
    the model takes, in its order. background: a file of rows to compare with."""

    rows: tuple[int, ...] | None = ()
    columns: tuple[str, ...] = ()
    background: Path | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Those that decide results, for a manifest, where they are not the usual ones."""
        found = {
            "rows": "all" if self.rows is None else list(self.rows),
            "columns": list(self.columns),
            "background": "" if self.background is None else str(self.background),
        }
        return {name: value for name, value in found.items() if value}


NO_TABLE = TableOptions()


def tables(f: F) -> F:
    """--rows, --columns and --background: the command gets one `TableOptions`, as `table`."""

    @functools.wraps(f)
    def command(*args: Any, rows: str | None, columns: str | None, background: str | None, **others: Any) -> Any:
        named = tuple(name.strip() for name in (columns or "").split(",") if name.strip())
        chosen = () if rows is None else _rows(rows)
        found = TableOptions(chosen, named, None if background is None else Path(background))
        return f(*args, table=found, **others)

    stack: Any = command
    text = "Rows (.csv, .npy) whose values stand in for hidden ones; default: the table's own."
    kind = click.Path(exists=True, dir_okay=False)
    stack = option("--background", metavar="FILE", type=kind, section=TABLES, help=text)(stack)
    text = "Columns of the table that the model takes, in its order; default: those named as its inputs, or all."
    stack = option("--columns", metavar="NAME,...", section=TABLES, help=text)(stack)
    text = f"Rows that are explained, from 0: `all`, 17 or 0-9,17; default: the first {FIRST}."
    decorated: F = option("--rows", "--row", "rows", metavar="all|N,...", section=TABLES, help=text)(stack)
    return decorated


def _rows(text: str) -> tuple[int, ...] | None:
    if text.strip().lower() == "all":
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise click.BadParameter(f"{text!r} is neither `all` nor rows such as 17 or 0-9,17", param_hint="'--rows'")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(found))
