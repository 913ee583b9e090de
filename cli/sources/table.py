"""`parts.csv`, `parts.parquet`: tables with a column of paths, `parts.csv:COLUMN` where it has another name."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Sequence
from pathlib import Path

from ...engine.errors import ImageError, nearest
from ..files.remote import filesystem_of, path_of
from .listed import named_in
from .source import Selection, Source

SUFFIXES = (".csv", ".tsv", ".parquet")
# Names of the column of paths, in this order.
_COLUMNS = ("path", "image", "image_path", "file", "filename", "file_name", "filepath", "file_path")


def _split(item: str) -> tuple[str, str]:
    """The file and the column."""
    file, _, column = item.rpartition(":")
    if file.lower().endswith(SUFFIXES):
        return file, column
    return item, ""


def _takes(item: str) -> bool:
    return _split(item)[0].lower().endswith(SUFFIXES)


def _paths(item: str, selection: Selection) -> Sequence[Path]:
    file, column = _split(item)
    try:
        values = (_of_parquet if file.lower().endswith(".parquet") else _of_csv)(file, column)
    except (OSError, UnicodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"the table {file!r} cannot be read: {reason}") from error
    return named_in(path_of(file), values, selection)


def _of_csv(file: str, column: str) -> list[str]:
    with open(file, encoding="utf-8-sig", newline="") as text:
        table = csv.reader(text, delimiter="\t" if file.lower().endswith(".tsv") else ",")
        place = _place(file, [name.strip() for name in next(table, [])], column)
        return [row[place].strip() for row in table if len(row) > place]


def _of_parquet(file: str, column: str) -> list[str]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ImageError(
            f"{file!r} is read by pyarrow, which is not installed: `pip install 'onnxray[tables]'`, or give a .csv"
        ) from None
    try:
        fs, inner = filesystem_of(file)
        with fs.open_input_file(inner) as opened:
            table = parquet.ParquetFile(opened)
            names = table.schema_arrow.names
            chosen = names[_place(file, names, column)]
            return [str(value) for value in table.read(columns=[chosen])[chosen].to_pylist() if value]
    except ValueError as error:  # pyarrow's own errors are of it
        raise ImageError(f"the table {file!r} cannot be read: {' '.join(str(error).split())}") from error


def _place(file: str, names: Sequence[str], column: str) -> int:
    """The number of the column of paths. Raises ImageError."""
    lower = [name.lower() for name in names]
    wanted = [column.lower()] if column else _COLUMNS
    for name in wanted:
        if name in lower:
            return lower.index(name)
    if len(names) == 1 and not column:
        return 0
    close = nearest(column, names, 1) if column else []
    hint = f"; nearest: {close[0]!r}" if close else ""
    what = f"no column {column!r}" if column else f"no column named {', '.join(_COLUMNS[:3])} or alike"
    raise ImageError(f"the table {file!r} has {what}, only {', '.join(names)}{hint}: name it, {file}:COLUMN")


SOURCE = Source("parts.csv, parts.parquet[:COLUMN]", "a table with a column of paths", _takes, _paths)
