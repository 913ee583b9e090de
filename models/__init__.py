"""The models that onnxray knows: the one that ships with it, and the cards of well-known public ones.

A public model's file is downloaded only when `pull` is called for it, checked by its sha256, and kept in the cache
folder: $ONNXRAY_CACHE, else the user's cache folder of the platform. Its card comes with onnxray (`cards/*.json`) and
is found by the file's sha256 wherever the file lies.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import DownloadError, ModelError, UnknownName

if TYPE_CHECKING:
    from .download import Progress

BUILTIN = "builtin"
_HERE = Path(__file__).parent
_BUILTIN_FILE = _HERE / "surface.onnx"


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model by its name.

    Attributes: `card`: fields of its card; `title`, `origin`, `licence`; `facts`: where its preprocessing is stated;
    `url`, `sha256`, `bytes` of its file, None where the user has to bring it; `path`: the file, None while it is not
    here.
    """

    name: str
    title: str
    card: Mapping[str, Any]
    origin: str = ""
    licence: str = ""
    facts: str = ""
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    path: Path | None = None


def names() -> tuple[str, ...]:
    """Every name: the built-in model, files that can be pulled, and cards for files that the user brings."""
    return (BUILTIN, *_entries())


def samples() -> tuple[Path, ...]:
    """The sample images of the built-in model, in order of their names."""
    return tuple(sorted((_HERE / "samples").glob("*.png")))


def file_of(name: str) -> Path:
    """The file for a path or a name: an existing file, else the file of a name in `names`.

    Raises UnknownName for what is neither and does not look like a path, and what `path` raises.
    """
    given = Path(name)
    try:
        there = given.is_file(), given.exists()
    except (OSError, ValueError):
        return given  # no place at all: too long, a zero byte
    if there[0]:
        return given
    if name in names():
        return path(name)
    if there[1] or given.suffix or len(given.parts) != 1:
        return given  # loading it says what is wrong with it
    remedy = "give the path of an .onnx file or a name from `onnxray models list`"
    raise UnknownName("model or file", name, names(), remedy)


def info(name: str) -> ModelInfo:
    """What is known of the model. Raises UnknownName with the nearest names."""
    if name == BUILTIN:
        return _builtin()
    entry = _entries().get(name)
    if entry is None:
        raise UnknownName("model", name, names(), "`onnxray models list` shows them")
    card, about, file = entry
    return ModelInfo(
        name=name,
        title=about["title"],
        card=card,
        origin=about.get("origin", ""),
        licence=about.get("licence", ""),
        facts=about.get("facts", ""),
        url=file.get("url"),
        sha256=file.get("sha256"),
        bytes=file.get("bytes"),
        path=place if file and (place := _place(name)).is_file() else None,
    )


def path(name: str) -> Path:
    """The model's file on this machine.

    Raises UnknownName for a name that does not exist, ModelError while the file is not here, with the way to get it.
    """
    found = info(name)
    if found.path is not None:
        return found.path
    if name == BUILTIN:
        raise ModelError(f"the built-in model is missing ({_BUILTIN_FILE}): install onnxray again")
    if found.url is None:
        raise ModelError(f"{name!r} is a card only ({found.title}): bring the .onnx file yourself and give its path")
    raise ModelError(f"{name!r} is not on this machine: run `onnxray models pull {name}` ({_size(found.bytes)})")


def pull(name: str, progress: Progress | None = None) -> Path:
    """Download the model's file, or find it already here; its sha256 is checked either way.

    `progress(done, total)` is called with the bytes so far and in all. Raises UnknownName, or DownloadError when there
    is nothing to download under this name, or the download fails (what came is kept and the next call goes on from
    there).
    """
    from .download import fetch

    found = info(name)
    if name == BUILTIN:
        return path(name)
    if found.url is None or found.sha256 is None or found.bytes is None:
        raise DownloadError(f"there is no download for {name!r} ({found.origin}): bring the .onnx file yourself")
    return fetch(found.url, found.sha256, _place(name), progress=progress, max_bytes=found.bytes)


def cache_folder() -> Path:
    """Where pulled models are kept: $ONNXRAY_CACHE, else the folder `onnxray` in the user's cache folder."""
    if chosen := os.environ.get("ONNXRAY_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "onnxray"


def _place(name: str) -> Path:
    return cache_folder() / "models" / f"{name}.onnx"


@cache
def _entries() -> dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """name -> (card fields, what the card says about the family, its file's sha256, bytes and url)."""
    from ..engine.preprocess.known_cards import known_cards

    found = {}
    for family, content in known_cards().items():
        card = {name: value for name, value in content.items() if name != "about"}
        about = dict(content["about"])
        files = about.get("files", {})
        for file, entry in files.items():
            found[file.removesuffix(".onnx")] = (card, about, dict(entry))
        if not files:
            found[family] = (card, about, {})
    return found


def _builtin() -> ModelInfo:
    from ..engine.preprocess.labels import parse_json, read_text

    card: dict[str, Any] = {}
    file = _BUILTIN_FILE.with_suffix(".json")
    if file.is_file():
        card = parse_json(read_text(file, "the built-in card"), "the built-in card")
    about = card.pop("about", {})
    here = _BUILTIN_FILE.is_file()
    return ModelInfo(
        name=BUILTIN,
        title=about.get("title", "surface defects in synthetic inspection images"),
        card=card,
        origin=about.get("origin", "made for onnxray"),
        licence=about.get("licence", "Apache-2.0"),
        facts=about.get("facts", "the script that trained it"),
        bytes=_BUILTIN_FILE.stat().st_size if here else None,
        path=_BUILTIN_FILE if here else None,
    )


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return (
        f"{count / 1e6:.0f} MB"
        if count >= 1e7
        else f"{count / 1e6:.1f} MB"
        if count >= 1e6
        else f"{count / 1e3:.0f} kB"
    )
