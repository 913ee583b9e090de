"""Results of surveys on disk: arrays in one .npz, all else in manifest.json, which is written last."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic
from ..errors import CardError, OutputError

T = TypeVar("T")
MANIFEST = "manifest.json"
# The name of the manifest among the arrays of an unfinished result.
_HEAD = "manifest"
# What reading a damaged or strange file raises.
_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, IndexError, CardError, zipfile.BadZipFile)


def write_result(folder: Path, kind: str, manifest: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Path]:
    """Write `KIND.npz` and `manifest.json`, each whole or not at all. Returns the paths by name. Raises OutputError."""
    paths = {"arrays": folder / f"{kind}.npz", "manifest": folder / MANIFEST}
    with atomic(paths["arrays"]) as temporary, temporary.open("wb") as file:
        np.savez(file, **dict(arrays))
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    with atomic(paths["manifest"]) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    return paths


def kind_of(folder: Path) -> str | None:
    """What kind of result a folder holds: "top", "health"; None where it holds none."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8", errors="surrogateescape"))
        return str(found["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_part(path: Path, manifest: Mapping[str, Any], arrays: Mapping[str, Any], done: Mapping[str, Any]) -> None:
    """An unfinished result in one file, whole or not at all; `done` says how far it is. Raises OutputError."""
    text = json.dumps({"manifest": manifest, "done": done}, ensure_ascii=False)
    packed = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{**dict(arrays), _HEAD: packed})


def read_part(
    path: Path, kind: str, format: int, make: Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], T]
) -> tuple[T, dict[str, Any]] | None:
    """What `write_part` wrote, made by `make`, and `done`; None where there is none of this kind, or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in packed.files}
        head = json.loads(arrays.pop(_HEAD).tobytes().decode("utf-8", "surrogateescape"))
        if (head["manifest"]["kind"], head["manifest"]["format"]) != (kind, format):
            return None
        return make(head["manifest"], arrays), dict(head["done"])
    except _DAMAGED:
        return None


def read_result(
    folder: Path, kind: str, format: int, make: Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], T]
) -> T:
    """What `make` makes of the manifest and the arrays. Raises OutputError where they are missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8", errors="surrogateescape"))
        found = manifest.get("kind"), manifest.get("format")
    except (OSError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its manifest is damaged"
        raise OutputError(f"{str(folder)!r} holds no result of onnxray {kind}: {reason}") from error
    if found != (kind, format):
        raise OutputError(
            f"{str(folder)!r} holds no result of onnxray {kind} of format {format}: run onnxray {kind} with --out there"
        )
    try:
        with (folder / f"{kind}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return make(manifest, {name: arrays[name] for name in arrays.files})
    except _DAMAGED as error:
        raise OutputError(f"the result in {str(folder)!r} is damaged ({error}): make it again") from error
