"""What libraries written in C print on stderr, kept away from it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO, Any

_stderr = threading.Lock()
_CHATTER = re.compile(rb"jpeg|jfif|huffman|libpng|tiff|webp|^\[ ?(warn|error|info)", re.IGNORECASE | re.MULTILINE)


@contextlib.contextmanager
def quiet() -> Iterator[list[bytes]]:
    """Keep what libjpeg and libpng print away from stderr; the list holds it afterwards.

    They write to file descriptor 2 itself. What others wrote there at the same time is passed on.
    """
    said: list[bytes] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stderr)
        try:
            file = stack.enter_context(_nameless())
            if sys.stderr is not None:
                sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError):  # no stderr to protect, or no place to keep what is said
            yield said
            return
        stack.callback(os.close, kept)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            file.seek(0)
            said += file.read(1 << 20).splitlines(keepends=True)
            for line in said:
                if not _CHATTER.search(line):
                    with contextlib.suppress(OSError):
                        os.write(kept, line)


def _nameless() -> IO[bytes]:
    """A temporary file; in memory on Linux, where a file on disk would take as long as a small picture."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):  # an older kernel
            return open(os.memfd_create("onnxray"), "w+b")
    return tempfile.TemporaryFile()


@contextlib.contextmanager
def ours_only() -> Iterator[None]:
    """Only what is written to `sys.stderr` reaches stderr, not what libraries write to file descriptor 2 themselves."""
    try:
        is_ours = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # somebody has put another stream in its place
        is_ours = False
    if not is_ours:
        yield
        return
    before = sys.stderr
    before.flush()
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        about: dict[str, Any] = {"encoding": before.encoding, "errors": "replace", "closefd": False}
        stack.enter_context(contextlib.redirect_stderr(stack.enter_context(open(kept, "w", buffering=1, **about))))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
