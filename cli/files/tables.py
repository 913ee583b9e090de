"""Tables of numbers and texts: .csv and .tsv, whose first row names the columns; .npy, whose columns have no names."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError, ShapeError
from ...engine.preprocess.arrays import is_array_file, read_array
from ...engine.series.given import Series
from ...engine.tables.given import Table

SUFFIXES = (".csv", ".tsv")
_MOST_BYTES = 1 << 30


def is_table_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def table_files(items: Sequence[str]) -> list[Path]:
    """Raises ImageError for a file that there is not."""
    for item in items:
        if not Path(item).is_file():
            raise ImageError(f"there is no file {item!r}: a table is a .csv or .tsv file")
    return list(dict.fromkeys(map(Path, items)))


def read_table(path: Path) -> Table:
    """Raises ImageError for a file that is no table, ShapeError for one without a row."""
    if is_array_file(path):
        return Table(_array(path))
    names, rows = read_cells(path)
    return Table(rows, names)


def has_names(table: Table) -> bool:
    """Whether the columns of a table of a file have names of their own."""
    return any(name != unnamed for name, unnamed in zip(table.names, _unnamed(len(table.names)), strict=True))


def _unnamed(width: int) -> tuple[str, ...]:
    return tuple(f"column {i}" for i in range(width))


# What a column of times is called.
_TIMES = re.compile(r"(time|date|datetime|timestamp|hour|day|month|year|seconds?)s?\b|t$", re.I)
_UNIT = re.compile(r"[\[(]([^\])]{1,8})[\])]\s*$")


# Numbers with a comma where a point is taken; what stands for a missing one.
_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*$")
_NUMBERS = re.compile(r"[-+\d.,;\s]*\d[-+\d.,;\s]*")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?")


def read_series(path: Path, features: Sequence[str] = ()) -> Series:
    """The rows of a table as times, its columns as features; a first column of texts such as dates, or that is called
    after times, names them, unless it is one of `features`. Raises ImageError for a file that is no table, ShapeError
    for cells that are no numbers."""
    return series_and_notes(path, features)[0]


def series_and_notes(path: Path, features: Sequence[str] = ()) -> tuple[Series, tuple[str, ...]]:
    """The series of `read_series`, and what is to be said of how it was read."""
    names, cells = read_cells(path)
    notes = _about_names(names)
    times: tuple[Any, ...] = ()
    unit = ""
    if len(names) > 1 and names[0] not in features and _is_times(names[0], cells[:, 0]):
        own = [_number(cell) for cell in cells[:, 0]]
        texts = any(number is None for number in own)
        times = tuple(cells[:, 0]) if texts else tuple(own)
        found = _UNIT.search(names[0])
        unit = found[1] if found and not texts else ""
        notes = (*notes, f"the column {names[0]!r} names the times")
        names, cells = names[1:], cells[:, 1:]
    return Series(_numbers(path, names, cells), names, times, unit), notes


def _is_times(name: str, cells: NDArray[Any]) -> bool:
    """Whether a column is called after times, or holds texts alone: no number, none with a comma, and none missing."""
    if any(map(_COMMA.match, cells)):
        return False
    known = [_number(cell) is not None or cell.strip().lower() in _MISSING for cell in cells]
    return bool(_TIMES.match(name.strip())) or not any(known)


def notes_of(table: Table) -> tuple[str, ...]:
    """What is to be said of how a table of a file was read."""
    return _about_names(table.names)


def _about_names(names: Sequence[str]) -> tuple[str, ...]:
    unnamed = bool(names) and tuple(names) == _unnamed(len(names))
    return ("the first row holds numbers and is taken as data: the columns have no names",) if unnamed else ()


def _numbers(path: Path, names: Sequence[str], cells: NDArray[Any]) -> NDArray[np.float64]:
    """Raises ShapeError for a cell that is no number, or none at all."""
    values = np.empty(cells.shape)
    for row, column in np.ndindex(cells.shape):
        number = _number(cells[row, column])
        if number is None or not math.isfinite(number):
            comma = _COMMA.match(cells[row, column])
            why = "it has a comma where a point is taken" if comma else "a series has one at every time"
            raise ShapeError(
                f"row {row}, column {names[column]!r} of {str(path)!r}: {cells[row, column]!r} is no number: {why}"
            )
        values[row, column] = number
    return values


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _array(path: Path) -> NDArray[Any]:
    try:
        return read_array(path)
    except ValueError as error:
        raise ImageError(f"{str(path)!r} cannot be read as an array: {error}") from None


def read_cells(path: Path) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The names of the columns and the cells, texts (rows, columns); names are numbers where the first row holds
    numbers alone. Raises ImageError."""
    lines = _lines(path)
    width = len(lines[0][1])
    for number, line in lines:
        if len(line) != width:
            raise ImageError(f"the table {str(path)!r} has {width} columns, and {len(line)} in line {number}")
    cells = [line for _, line in lines]
    if all(map(_is_number, cells[0])):
        return _unnamed(width), np.array(cells, object)
    if len(cells) < 2:
        raise ImageError(f"the table {str(path)!r} has names of columns and no row")
    named = [name.strip() or f"column {i}" for i, name in enumerate(cells[0])]
    return tuple(named), np.array(cells[1:], object)


def _lines(path: Path) -> list[tuple[int, Sequence[str]]]:
    """The lines of a table that are not empty, with their numbers."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ImageError(f"the table {str(path)!r} has more than {_MOST_BYTES >> 30} GiB: give a part of it")
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise ImageError(f"the table {str(path)!r} is no text")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text), strict=True)
        lines: list[tuple[int, Sequence[str]]] = [
            (reader.line_num, line) for line in reader if any(cell.strip() for cell in line)
        ]
    except UnicodeDecodeError as error:
        raise ImageError(f"the table {str(path)!r} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"the table {str(path)!r} cannot be read: {reason}") from None
    if not lines:
        raise ImageError(f"the table {str(path)!r} is empty")
    return lines


def _delimiter(path: Path, text: str) -> str:
    """Tabs in a .tsv; else the one of commas, semicolons and tabs that leaves numbers alone in the first line, or that
    it has most of. Raises ImageError for numbers that none, or several, leave so."""
    first = text.lstrip("\r\n").partition("\n")[0]
    found = [mark for mark in ",;\t" if mark in first]
    if path.suffix.lower() == ".tsv" or not found:
        return "\t" if path.suffix.lower() == ".tsv" else ","
    whole = [mark for mark in found if all(map(_is_number, first.split(mark)))]
    if len(found) > 1 and not whole and _NUMBERS.fullmatch(first):
        raise ImageError(
            f"the table {str(path)!r} begins with {first.strip()[:40]!r}: several marks separate its numbers; write "
            "1.5, not 1,5, or name the columns in the first row"
        )
    return whole[0] if whole else max(found, key=first.count)


def _is_number(cell: str) -> bool:
    return _number(cell) is not None
