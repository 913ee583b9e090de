"""Runs a kernel over bands of rows on this package's own threads.

One pool per process, made on first use. The calling thread works too: with `threads=1`, or work too small to share, no
other thread is involved. Kernels release the GIL, so bands really run side by side; several Python threads may call
at once, they share the pool.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

# Bands a thread gets on average.
_BANDS_PER_THREAD = 4

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_most: int | None = None


def available() -> int:
    """The number of processors this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count if _most is None else min(count, _most))


def limit(threads: int | None) -> None:
    """This process is to use so many processors at most: others work on the same machine. None: all that there are."""
    global _most
    _most = threads


def bands(work: Callable[[int, int], object], rows: int, threads: int | None = None, least: int = 1) -> None:
    """Call work(start, stop) on contiguous bands that together cover range(rows), and wait for all of them.

    threads: at most so many bands at once; None: one per available processor. least: rows below which a band is not
    worth the trouble. Bands are smaller than a thread's share and are taken from a common list, so that on a busy
    machine a thread that gets no processor holds up nobody. An exception is raised after all threads have stopped.

    Raises ValueError when `threads` is below 1.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    most = rows // max(1, least)
    if most < 2 or threads == 1:
        work(0, rows)
        return
    threads = min(threads or available(), most)
    count = min(_BANDS_PER_THREAD * threads, most) if threads > 1 else 1
    todo = [(rows * i // count, rows * (i + 1) // count) for i in range(count)]
    todo.reverse()

    def share() -> None:
        try:
            while True:
                try:
                    start, stop = todo.pop()  # atomic
                except IndexError:
                    return
                work(start, stop)
        except BaseException:
            todo.clear()
            raise

    pool = _executor() if threads > 1 else None
    helpers = [pool.submit(share) for _ in range(threads - 1)] if pool else []
    try:
        share()
    finally:
        # Bands write into the caller's arrays: never return while one still runs.
        errors = [helper.exception() for helper in helpers if not helper.cancel()]
    for error in errors:
        if error is not None:
            raise error


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            from concurrent.futures import ThreadPoolExecutor

            _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), thread_name_prefix="onnxray-kernel")
        return _pool


def _forget_pool() -> None:
    # A forked child has the pool's object but none of its threads: it would wait for ever.
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
