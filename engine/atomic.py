"""Writing results: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from .errors import OutputError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the name `path` when the block ends without an error.

    Raises OutputError (no permission, full disk, no such folder); a failed block leaves nothing behind.
    """
    temporary: Path | None = None
    try:
        if "\0" in str(path):
            raise OutputError(f"cannot write {str(path)!r}: a file name holds no null character")
        try:
            if path.exists() and not path.is_file():
                raise OutputError(f"cannot write {str(path)!r}: it is a {'folder' if path.is_dir() else 'device'}")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = _create(path.parent)
            yield temporary
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _create(folder: Path) -> Path:
    """A new, empty file with the permissions that any new file gets here."""
    while True:
        path = folder / f".onnxray-{secrets.token_hex(6)}.part"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path
