"""The manifest of a run as a file: read with distrust, since anybody may have written it; written byte for byte."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

MANIFEST = "manifest.json"
_MAX_BYTES = 1 << 30
_SURROGATES = re.compile("[\ud800-\udfff]")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, None where there is none or it is not of our form."""
    path = folder / MANIFEST
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            return None
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError):
        return None
    if not (isinstance(found, dict) and {"format", "command", "images", "files"} <= found.keys()):
        return None
    ours = isinstance(found["command"], str) and isinstance(found["images"], list) and isinstance(found["files"], list)
    return found if ours else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def files_of(entry: Any) -> list[str] | None:
    """The files of an image's entry, None where they are not a list of names."""
    names = entry.get("files", []) if isinstance(entry, Mapping) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def stays_in(folder: Path, name: str) -> bool:
    """Whether a name of a manifest, which anybody may have written, stays in the folder."""
    try:
        return (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def listed_files(manifest: Mapping[str, Any]) -> list[str]:
    """Every file name that a manifest lists."""
    lists = [manifest.get("files", ()), *(e.get("files") for e in manifest.get("images", ()) if isinstance(e, dict))]
    return [name for names in lists if isinstance(names, list) for name in names if isinstance(name, str)]


def indented(data: Mapping[str, Any]) -> str:
    """As the manifest is written. Halves of surrogate pairs, which stand for bytes in names of files that are no UTF-8,
    are escaped: a file cannot hold them."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    return _SURROGATES.sub(lambda half: f"\\u{ord(half.group()):04x}", text)


def plain(value: Any) -> Any:
    """`value` as JSON-like data; NumPy's numbers become Python's, what JSON lacks (NaN, infinities) becomes text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    raise TypeError(f"{type(value).__name__} has no place in a manifest")
