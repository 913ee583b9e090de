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
from typing import Any

_running: dict[int, Any] = {}
_watchers = 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block Ctrl-C ends running models, and the block by KeyboardInterrupt. For the main thread."""
    global _watchers
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
        signal.set_wakeup_fd(before)
        telling.close()
        watcher.join()


def _watch(listening: socket.socket) -> None:
    with listening:
        while heard := listening.recv(64):
            if signal.SIGINT in heard:
                for options in list(_running.values()):
                    options.terminate = True


@contextlib.contextmanager
def stoppable(make_options: Callable[[], Any]) -> Iterator[Any]:
    """ONNX Runtime's options for one run, which a watcher may end; None where nobody watches."""
    if not _watchers:
        yield None
        return
    options = make_options()
    _running[id(options)] = options
    try:
        yield options
    finally:
        del _running[id(options)]
