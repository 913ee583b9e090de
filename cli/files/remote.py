"""Files that do not lie on this machine: s3://, gs://, abfs:// by pyarrow, other schemes by fsspec."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ...engine.errors import ImageError, OnnxrayError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "az", "hdfs", "http", "https", "memory", "file")
_URI = re.compile(rf"({'|'.join(SCHEMES)}):/+", re.IGNORECASE)
# Schemes that pyarrow reads itself.
_OF_PYARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "file")


# The options of a URI, such as ?region=eu-west-1: they are about the bucket and stand behind every key.
_QUERY = re.compile(r"\?\w+=.*$")
# What a URI's key holds as it is; a part that is percent-encoded already stays.
_SAFE = "/:@!$&'()*+,;=~"


class Remote(type(Path())):  # type: ignore[misc]
    """A URI as a path: it has a name, an ending and a parent, and its text is the URI."""

    def __str__(self) -> str:
        return uri_of(super().__str__().replace("\\", "/"))

    def __fspath__(self) -> str:
        return str(self)

    @property
    def name(self) -> str:
        """The last part of the key, without the options of the URI."""
        name = _split(super().name)[0]
        return unquote(name) if _of_pyarrow(str(self)) else name


def is_uri(text: str) -> bool:
    """Whether a text, or the text of a path that was made of one, is a URI of a file system."""
    return _URI.match(text) is not None


def uri_of(text: str) -> str:
    """A URI of whose slashes a path has left one out: s3:/bucket/key as s3://bucket/key."""
    found = _URI.match(text)
    if found is None:
        return text
    slashes = ":///" if found[1].lower() == "file" else "://"
    return f"{found[1]}{slashes}{text[found.end() :]}"


def path_of(text: str) -> Path:
    """The path of a file, or of a URI."""
    if not is_uri(text):
        return Path(text)
    head, query = _split(uri_of(text))
    return Remote(head + query.replace("/", "%2F"))  # a path would make one slash of two


def inside(folder: str, name: str) -> str:
    """A file in a folder, or in that of a URI, whose options stay last."""
    head, query = _split(folder) if is_uri(folder) else (folder, "")
    return f"{head}/{name}{query}"


def _split(uri: str) -> tuple[str, str]:
    """A URI without its options, and these."""
    found = _QUERY.search(uri)
    return (uri, "") if found is None else (uri[: found.start()], found[0])


def _of_pyarrow(uri: str) -> bool:
    return uri.partition(":")[0].lower() in _OF_PYARROW


def _quoted(uri: str) -> str:
    """A URI in whose key no character has a meaning of its own."""
    head, query = _split(uri)
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", head), safe=f"{_SAFE}%") + query


def filesystem_of(uri: str, error: type[OnnxrayError] = ImageError) -> tuple[Any, str]:
    """pyarrow's file system of a URI, and the path in it; of a path, that of this machine.

    Raises `error`: pyarrow or the scheme's package is missing, the URI is none.
    """
    try:
        fs = importlib.import_module("pyarrow.fs")
    except ImportError:
        raise error(f"{uri!r} is read by pyarrow, which is not installed: `pip install 'onnxray[tables]'`") from None
    if not is_uri(uri):
        return fs.LocalFileSystem(), str(uri)
    uri = uri_of(uri)
    try:
        if _of_pyarrow(uri):
            found: tuple[Any, str] = fs.FileSystem.from_uri(_quoted(uri))
            return found
        fsspec = importlib.import_module("fsspec")
        remote, path = fsspec.core.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(remote)), path
    except (OSError, ValueError, ImportError, NotImplementedError) as reason:
        raise error(unreadable(uri, reason)) from None


def unreadable(uri: str, reason: Exception) -> str:
    """One line on what could not be read, and what to look at."""
    said = " ".join(str(reason).split())
    said = said if len(said) < 300 else f"{said[:297]}..."
    return f"cannot read {uri!r}: {said}: look at its name, the region, the network and who may read it (credentials)"


def read_remote(path: Remote) -> bytes:
    """The bytes of a file. Raises ImageError."""
    fs, inner = filesystem_of(str(path))
    try:
        with fs.open_input_stream(inner) as file:
            data: bytes = file.read()
            return data
    except (OSError, ValueError) as error:
        raise ImageError(unreadable(str(path), error)) from None


def listed(uri: str, suffixes: Sequence[str], recursive: bool) -> list[Path]:
    """The files with these endings that a URI names: one file, or those in a folder. Raises ImageError."""
    fs, inner = filesystem_of(uri)
    kinds = importlib.import_module("pyarrow.fs")
    try:
        about = fs.get_file_info(inner)
        if about.type == kinds.FileType.File:
            return [path_of(uri)]
        if about.type == kinds.FileType.NotFound:
            raise ImageError(f"there is no file or folder {uri_of(uri)!r}: look at its name and who may read it")
        entries = fs.get_file_info(kinds.FileSelector(inner, recursive=recursive))
    except (OSError, ValueError) as error:
        raise ImageError(unreadable(uri_of(uri), error)) from None
    whole, query = _split(uri_of(uri))
    head, safe = whole.rstrip("/"), _SAFE if _of_pyarrow(whole) else None
    base = inner.rstrip("/")
    names = [e.path[len(base) :].lstrip("/") for e in entries if e.type == kinds.FileType.File]
    names = [name for name in names if name.lower().endswith(tuple(suffixes))]
    found = [path_of(f"{head}/{name if safe is None else quote(name, safe=safe)}{query}") for name in names]
    if not found:
        raise ImageError(f"the folder {uri_of(uri)!r} has no image in it ({', '.join(suffixes)})")
    return found
