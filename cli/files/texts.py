"""Files that hold texts: one a file, one a line, or one a row of a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...engine.errors import TextError
from .find import natural

SUFFIXES = (".txt", ".text", ".md", ".csv", ".tsv", ".jsonl")
_TABLES = (".csv", ".tsv", ".jsonl")
# Models read some thousands of tokens; what is longer is no text for them.
MOST_BYTES = 16 << 20


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, at most 16 MB of it. Raises TextError."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TextError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    if len(data) > MOST_BYTES:
        raise TextError(f"{str(path)!r} has more than {MOST_BYTES >> 20} MB, too much for a text: give a part of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{str(path)!r} is not UTF-8 (byte {error.start} is 0x{data[error.start]:02x}): save it as UTF-8"
        ) from None


def text_files(items: Sequence[str], recursive: bool = False) -> list[Path]:
    """The files that files and folders name, those of a folder in natural order. Raises TextError."""
    found: dict[Path, None] = {}
    for item in items:
        path = Path(item)
        if path.is_dir():
            inside = path.rglob("*") if recursive else path.iterdir()
            files = sorted((p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file()), key=natural)
            if not files:
                raise TextError(f"the folder {item!r} has no text in it ({', '.join(SUFFIXES)})")
            found.update(dict.fromkeys(files))
        elif path.is_file():
            found[path] = None
        else:
            raise TextError(f"there is no file or folder {item!r}: a text on the command line follows --text")
    return list(found)


def texts_in(path: Path, lines: bool, column: str | None, pair_column: str | None) -> Iterator[tuple[str, str | None]]:
    """The texts of a file, (text, second of a pair or None): the file, every line of it, or every row of a table.

    Raises TextError for a table without such a column, or with no text in it.
    """
    if path.suffix.lower() in _TABLES:
        yield from _rows(path, column, pair_column)
        return
    if column is not None:
        raise TextError(f"{str(path)!r} is no table ({', '.join(_TABLES)}): --column names a column of one")
    text = read_text(path)
    if not lines:
        yield text.strip("\r\n") or text, None
        return
    found = [line.strip("\r") for line in text.split("\n") if line.strip()]
    if not found:
        raise TextError(f"{str(path)!r} is empty: there is no text in it")
    yield from ((line, None) for line in found)


def _rows(path: Path, column: str | None, pair_column: str | None) -> Iterator[tuple[str, str | None]]:
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        rows = [_row(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    else:
        csv.field_size_limit(max(csv.field_size_limit(), MOST_BYTES))
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise TextError(f"{str(path)!r} is no table: {error}") from None
    if not rows:
        raise TextError(f"{str(path)!r} has no row: there is no text in it")
    names = [str(name) for name in rows[0] if name is not None]
    if not names:
        raise TextError(f"the first row of {str(path)!r} names no column: write the names there")
    wanted = column or ("text" if "text" in names else names[0])
    for name in (wanted, *([pair_column] if pair_column else [])):
        if name not in names:
            raise TextError(f"{str(path)!r} has no column {name!r} but {', '.join(names)}")
    for number, row in enumerate(rows, 1):
        if lacking := [name for name in (wanted, *([pair_column] if pair_column else [])) if name not in row]:
            raise TextError(f"row {number} of {str(path)!r} has no {lacking[0]!r}: each row names its text so")
        yield str(row[wanted] or ""), str(row[pair_column] or "") if pair_column else None


def _row(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TextError(f"line {number} of {str(path)!r} is no JSON: {error}") from None
    if not isinstance(row, dict):
        raise TextError(f"line {number} of {str(path)!r} is no object: write one a line")
    return row
