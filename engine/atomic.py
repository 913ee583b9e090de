"""Writing results: whole or not at all, and one process at a time."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

from .errors import OutputError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path next to `path` to write to; it takes the name `path` when the block ends without an error.

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


def leftover(name: str) -> bool:
    """Whether a file of this name is a temporary one of `atomic`, which stays behind when a process is killed."""
    return re.fullmatch(r"\.onnxray-[0-9a-f]{12}\.part", name) is not None


def _create(folder: Path) -> Path:
    """A new, empty file with the permissions that any new file gets here."""
    while True:
        path = folder / f".onnxray-{secrets.token_hex(6)}.part"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path


class Lock:
    """A lock file that is held by one process at a time, from `take_lock` until `release`.

    The operating system lets go of it when the process ends, however that comes about: no lock outlives its process.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.release = weakref.finalize(self, _release, path, descriptor)


def take_lock(path: Path) -> Lock | None:
    """The lock of this name, None while another process, or another lock of this one, holds it. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            if not _locked(descriptor):
                os.close(descriptor)
                return None
            # Whoever held it until now removes the file at the end: then this is no longer the file of that name.
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return Lock(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def holder_of(path: Path) -> str:
    """Who holds a lock, for messages: "process 1234"."""
    try:
        with path.open("rb") as file:
            text = file.read(20).strip().decode("ascii", "replace")
    except OSError:
        text = ""
    return f"process {text}" if text.isdecimal() else "another process"


# Of the file: beyond what is written into it, since a locked part cannot be read on Windows.
_LOCKED_BYTE = 1 << 20


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _release(path: Path, descriptor: int) -> None:
    if sys.platform == "win32":  # an open file cannot be removed there
        os.close(descriptor)
    with contextlib.suppress(OSError):
        path.unlink()
    if sys.platform != "win32":
        os.close(descriptor)
