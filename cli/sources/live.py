"""Cameras and network streams: the newest picture, opened again where it drops out."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import ImageError
from .source import Frame, Picture, Say, Selection

if TYPE_CHECKING:
    from ...engine.preprocess.card import Card

# Seconds before a stream that dropped out is opened again: the first time, and at most.
_FIRST_PAUSE, _MOST_PAUSE = 1.0, 60.0


def picture_of(pixels: Any) -> Callable[[Card | None], Picture]:
    """What reads a picture that is decoded already."""
    return lambda _: Picture(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())


def live(
    name: str,
    open_capture: Callable[[], Any],
    selection: Selection,
    say: Say,
    first_pause: float = _FIRST_PAUSE,
) -> Iterator[Frame]:
    """The newest picture of a stream, again and again: those that come while others are worked on are left out.

    Raises ImageError where the stream cannot be opened at the start. One that drops out later is opened again, after
    pauses that grow, which is said once.
    """
    newest = _Newest(name, open_capture, say, first_pause)
    start, number = time.monotonic(), -1
    try:
        while True:
            found = newest.after(number, start, selection)
            if found is None:
                return
            number, pixels, seconds = found
            yield Frame(Path(f"{name}#{number}"), picture_of(pixels), seconds)
    finally:
        newest.stop()


class _Newest:
    """A thread that reads a stream without pause and keeps the newest picture."""

    def __init__(self, name: str, open_capture: Callable[[], Any], say: Say, first_pause: float) -> None:
        self._name, self._open, self._say, self._first_pause = name, open_capture, say, first_pause
        self._changed = threading.Condition()
        self._number, self._pixels, self._at = -1, None, 0.0
        self._stopped = threading.Event()
        self._capture = open_capture()
        if not self._capture.is_open:
            self._capture.close()
            raise ImageError(f"{name} cannot be opened: it is not there, not reachable, or used by another program")
        self._thread = threading.Thread(target=self._read, name="onnxray-live", daemon=True)
        self._thread.start()

    def after(self, number: int, start: float, selection: Selection) -> tuple[int, Any, float] | None:
        """The newest picture behind `number` of those that are taken; None at the end of the time."""
        with self._changed:
            while True:
                if not selection.lasts(time.monotonic() - start):
                    return None
                wanted = number < 0 or self._number >= number + selection.every
                if self._number > number and wanted:
                    return self._number, self._pixels, self._at - start
                self._changed.wait(0.1)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(5.0)
        self._capture.close()

    def _read(self) -> None:
        while not self._stopped.is_set():
            pixels = self._capture.read()
            if pixels is None:
                self._reopen()
                continue
            with self._changed:
                self._number, self._pixels, self._at = self._number + 1, pixels, time.monotonic()
                self._changed.notify_all()

    def _reopen(self) -> None:
        """Open the stream again, after pauses that grow."""
        gone, pause = time.monotonic(), self._first_pause
        self._say(f"{self._name} gives no picture: it is opened again until it comes back")
        while not self._stopped.wait(pause):
            self._capture.close()
            self._capture = self._open()
            if self._capture.is_open:
                self._say(f"{self._name} is back after {time.monotonic() - gone:.0f} s")
                return
            pause = min(_MOST_PAUSE, 2 * pause)
