"""The memory that ONNX Runtime takes: one allocator per process, its limit, giving it back."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from .ort import ort


@cache
def _trimmer() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None  # not glibc


def release_memory() -> None:
    """Give back to the system what was freed: glibc keeps the large copies of weights that making sessions leaves."""
    trim = _trimmer()
    if trim is not None:
        trim(0)


_arena = threading.RLock()
_registered: int | None = None


@contextmanager
def shared_arena(options: Any, limit: int = 0) -> Iterator[None]:
    """Inside, a session made with `options` takes its memory from an arena of at most `limit` bytes, 0 for no limit.

    ONNX Runtime keeps one such arena per process, the one registered last; a session keeps the one it was made with.
    """
    global _registered
    options.add_session_config_entry("session.use_env_allocators", "1")
    with _arena:
        if _registered != limit:
            info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
            same_as_requested, default = 1, -1
            ort.create_and_register_allocator(info, ort.OrtArenaCfg(limit, same_as_requested, default, default))
            _registered = limit
        yield
