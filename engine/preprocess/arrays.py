"""NumPy's files, which anybody may have written: arrays are read whole or refused in one line."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What NumPy raises for files that are broken in one way or another.
_BROKEN = (
    *(OSError, ValueError, EOFError, MemoryError, OverflowError, RecursionError, AttributeError, TypeError, KeyError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, NotImplementedError, RuntimeError),
)
_MAX_BYTES = 4 << 30
NPY, _NPZ = b"\x93NUMPY", b"PK\x03\x04"


def is_array_file(path: Path) -> bool:
    """Whether a file holds NumPy's arrays, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError:
        return False  # said when it is read
    return start == NPY or (start[:4] == _NPZ and path.suffix.lower() != ".zip")


def read_array(path: str | Path) -> NDArray[Any]:
    """The array of an .npy file. Raises ValueError, which says what is wrong: for callers that name the file."""
    try:
        with open(path, "rb") as file:
            start = file.read(6)
        if start != NPY:
            several = start.startswith(b"PK")
            raise ValueError("it holds several arrays (.npz): save one as .npy" if several else "it is no .npy file")
        # Mapped first: the header may promise more than there is memory for, but not more than the file has.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except _BROKEN as error:
        raise ValueError(_reason(error)) from None


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by their names. Raises ValueError, which says what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            total = sum(info.file_size for info in stored.zip.infolist())
            if total > _MAX_BYTES:
                raise ValueError(f"its arrays have {total >> 20} MiB, more than the limit of {_MAX_BYTES >> 20} MiB")
            return {name: stored[name] for name in stored.files}
    except _BROKEN as error:
        raise ValueError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError | EOFError | OSError):
        return " ".join(str(error).split())[:200]
    return "its header is broken"
