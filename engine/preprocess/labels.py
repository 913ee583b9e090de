"""Label files, and text and JSON files of bounded size."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..errors import CardError
from ..proto.confinement import leaves

MAX_LABELS = 1_000_000
MAX_LABEL_LENGTH = 1000
MAX_FILE_BYTES = 64 << 20


def read_labels(value: Any, where: str, folder: Path | None = None, *, confined: bool = False) -> tuple[str, ...]:
    """Class names, in the order of the classes, from a list, an {id: label} object, or the path of a file with either.

    A text file has one label a line, line i is class i, and the whole line is the label ("n01440764 tench, Tinca
    tinca"); a JSON file, or a text that begins with a bracket, holds a list or an object. A `confined` path is relative
    to `folder` and must not leave it. Raises CardError.
    """
    if isinstance(value, Path) or (isinstance(value, str) and value):
        path = _label_file(value, where, folder, confined)
        return _labels_of(_parse_labels(read_text(path, "the label file"), path), f"the label file {str(path)!r}")
    return _labels_of(value, f"labels in {where}")


def _label_file(value: str | Path, where: str, folder: Path | None, confined: bool) -> Path:
    path = Path(value)
    if not confined:
        return path if folder is None or path.is_absolute() else folder / path
    parts = {*PurePosixPath(value).parts, *PureWindowsPath(value).parts}
    if folder is None or ".." in parts or path.is_absolute() or PureWindowsPath(value).anchor:
        raise CardError(f"{where} names the label file {str(value)!r}: it must lie in the folder of the card")
    check_stays(folder / path, folder, "the label file")
    return folder / path


def check_stays(path: Path, folder: Path, what: str) -> None:
    """Raise CardError for a file that is a link out of `folder`: nobody asked for what lies elsewhere."""
    if "\0" in str(path):
        raise CardError(f"{what} {str(path)!r} is not a file name")
    if leaves(path, folder):
        raise CardError(f"{what} {str(path)!r} is a link out of the folder: copy the file there, or name it yourself")


def _parse_labels(text: str, path: Path) -> Any:
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        return parse_json(text, f"the label file {str(path)!r}")
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _labels_of(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        try:
            numbered = {_class_number(key): label for key, label in value.items()}
        except (TypeError, ValueError):
            raise CardError(f"{where}: the keys must be class numbers") from None
        if len(numbered) != len(value) or (numbered and set(numbered) != set(range(len(numbered)))):
            last = len(value) - 1
            raise CardError(f"{where}: the {len(value)} keys must be the class numbers from 0 to {last}, each once")
        value = [numbered[i] for i in range(len(numbered))]
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise CardError(f"{where} must be a list of names, an object from class number to name, or the path of a file")
    names = list(value)
    if not names:
        raise CardError(f"{where}: there is no label in it")
    if len(names) > MAX_LABELS:
        raise CardError(f"{where}: {len(names)} labels are more than {MAX_LABELS}")
    if not all(isinstance(n, str) or _is_short_number(n) for n in names):
        raise CardError(f"{where}: every label must be a text")
    return tuple(_clean(str(n)) or f"class {i}" for i, n in enumerate(names))


def _class_number(key: Any) -> int:
    """Raises ValueError for what is none."""
    if isinstance(key, str):
        if not (0 < len(key.strip()) < 10):
            raise ValueError
        return int(key)
    if not _is_short_number(key) or key != int(key):
        raise ValueError
    return int(key)


def _is_short_number(value: Any) -> bool:
    """Whether it is a number that can stand for a name: an integer of thousands of digits cannot even be written."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1 << 63


def _clean(label: str) -> str:
    """One line of printable text of bounded length."""
    label = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in label[: 2 * MAX_LABEL_LENGTH])
    return label.strip().lstrip("\ufeff")[:MAX_LABEL_LENGTH]


def read_text(path: Path, what: str, most: int = MAX_FILE_BYTES) -> str:
    """The text of a small UTF-8 file, or CardError saying `what` cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise CardError(f"{what} {str(path)!r} is not a regular file")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CardError(f"{what} {str(path)!r} cannot be read: {reason}") from error
    if len(data) > most:
        raise CardError(f"{what} {str(path)!r} is larger than {most >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CardError(f"{what} {str(path)!r} is not UTF-8 text") from error


def parse_json(text: str, what: str) -> Any:
    """JSON, or CardError saying where `what` is broken."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CardError(f"{what} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        raise CardError(f"{what} is not usable JSON: {type(error).__name__}") from error
