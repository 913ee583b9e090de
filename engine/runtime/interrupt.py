"""Ctrl-C while ONNX Runtime runs: Python's own handler waits until the run ends, which may be never.

A command opens `interruptible` around its work. Its watcher hears of the signal at once, by the descriptor that
Python writes signals to, and asks every run that goes on for its end (`RunOptions.terminate`). Runs join in by
`stoppable`. Programs that use the library may do the same.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from ..errors import PipelineClosed

_running: dict[int, Any] = {}
_watchers = 0
_ended = threading.Event()  # by a signal: threads start no more runs


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block Ctrl-C ends running models, and the block by KeyboardInterrupt. For the main thread."""
    global _watchers
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _ended.clear()
    listening, telling = socket.socketpair()
    telling.setblocking(False)
    before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(listening,), name="onnxray-interrupt", daemon=True)
    watcher.start()
    _watchers += 1
    try:
        yield
    finally:
        _watchers -= 1
        _ended.clear()
        signal.set_wakeup_fd(before)
        telling.close()
        watcher.join()


def _watch(listening: socket.socket) -> None:
    with listening:
        while heard := listening.recv(64):
            if signal.SIGINT in heard:
                _end_runs()


def _end_runs() -> None:
    """End the runs that go on, and let other threads than the main one, which is interrupted itself, start none."""
    _ended.set()
    for options in list(_running.values()):
        options.terminate = True


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM ends running models, and the block by SystemExit(143), so that what is open is closed.
    For the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        _end_runs()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def stoppable(make_options: Callable[[], Any]) -> Iterator[Any]:
    """ONNX Runtime's options for one run, which a watcher may end; None where nobody watches.

    Raises PipelineClosed in other threads than the main one after a signal.
    """
    if not _watchers:
        yield None
        return
    if _ended.is_set() and threading.current_thread() is not threading.main_thread():
        raise PipelineClosed("interrupted")
    options = make_options()
    _running[id(options)] = options
    try:
        yield options
    finally:
        del _running[id(options)]
