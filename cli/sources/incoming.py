"""Images that arrive in a folder: each once it is whole.

Events of the file system (watchdog) say that something has happened; a look at the whole folder now and then finds what
no event told of. A file is whole once it was closed by its writer or renamed into place, or has not changed for a
while.
"""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import RuntimeUnavailable
from ..files.find import SUFFIXES, natural
from .source import Say

# Seconds without a change after which a file that nobody closed is taken as whole, and between two looks at the folder.
_SETTLED, _LOOK = 1.0, 2.0


@dataclass(frozen=True)
class Arrived:
    """A file that is whole: its path, its size in bytes and its time of change in nanoseconds."""

    path: Path
    size: int
    mtime_ns: int


class Incoming:
    """The images that arrive in a folder; a context manager. known: whether a file is done already."""

    def __init__(
        self,
        folder: Path,
        recursive: bool,
        known: Callable[[Arrived], bool],
        say: Say,
        settled: float = _SETTLED,
        look: float = _LOOK,
    ) -> None:
        self.folder, self.recursive, self.known, self.say = folder, recursive, known, say
        self._settled, self._look, self._next_look = settled, look, 0.0
        self._changed: dict[Path, tuple[int, int, float]] = {}  # size, time, since when it is so
        self._closed: dict[Path, None] = {}  # by their writers; filled by another thread
        self._later: dict[Path, float] = {}
        self._taken: dict[Path, Arrived] = {}
        self._wake = threading.Event()
        self._gone = False
        self._observer: Any = None

    def __enter__(self) -> Incoming:
        self._observe()
        return self

    def __exit__(self, *_: object) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5.0)

    def wake(self) -> None:
        """End a wait of `ready`; also from a handler of signals."""
        self._wake.set()

    def ready(self, timeout: float) -> list[Arrived]:
        """The images that are whole and new, in natural order of their names; waits for one at most `timeout`."""
        if not self._closed and time.monotonic() < self._next_look:
            self._wake.wait(timeout)
        self._wake.clear()
        closed = [self._closed.popitem()[0] for _ in range(len(self._closed))]
        found = {path: None for path in closed if self._is_whole(path, closed=True)}
        if time.monotonic() >= self._next_look:
            start = time.monotonic()
            found.update((path, None) for path in self._files() if path not in found and self._is_whole(path))
            # Where looking takes long, it is done less often.
            self._next_look = time.monotonic() + max(min(self._look, self._settled), 20 * (time.monotonic() - start))
        return [self._taken[path] for path in sorted(found, key=natural)]

    def again(self, path: Path, pause: float = 1.0) -> None:
        """Give this file once more, after a while: it was not whole yet."""
        self._taken.pop(path, None)
        self._changed.pop(path, None)
        self._later[path] = time.monotonic() + pause

    def forget(self, path: Path) -> None:
        """The file is no longer in the folder: another one of its name is new."""
        self._taken.pop(path, None)

    def _is_whole(self, path: Path, closed: bool = False) -> bool:
        """Whether a file is to be given now; it is taken then."""
        now = time.monotonic()
        if now < self._later.get(path, 0.0):
            return False
        try:
            status = path.stat()
        except OSError:
            self._changed.pop(path, None)
            return False
        found = Arrived(path, status.st_size, status.st_mtime_ns)
        if not status.st_size or self._taken.get(path) == found:
            return False
        if self.known(found):
            self._taken[path] = found
            return False
        size, mtime_ns, since = self._changed.get(path, (-1, -1, now))
        if (size, mtime_ns) != (found.size, found.mtime_ns):
            self._changed[path] = (found.size, found.mtime_ns, now)
            since = now
        # One that was there, untouched, before we came needs no wait.
        untouched = time.time() - status.st_mtime > 10 * self._settled
        if not (closed or untouched or now - since >= self._settled):
            return False
        self._changed.pop(path, None)
        self._later.pop(path, None)
        self._taken[path] = found
        return True

    def _files(self) -> list[Path]:
        try:
            found = list(self._inside(self.folder))
        except OSError as error:
            if not self._gone:
                self._gone = True
                self.say(f"the folder {str(self.folder)!r} cannot be read ({error.strerror}): it is waited for")
            return []
        if self._gone:
            self._gone = False
            self.say(f"the folder {str(self.folder)!r} is back")
            self.__exit__()
            self._observe()
        for path in [path for path in self._taken if not path.exists()]:
            del self._taken[path]
        return found

    def _inside(self, folder: Path) -> Iterator[Path]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if self.recursive:
                        yield from self._inside(Path(entry.path))
                elif _is_image(entry.name):
                    yield Path(entry.path)

    def _observe(self) -> None:
        """Listen to the events of the folder."""
        try:
            observers, events = (importlib.import_module(f"watchdog.{name}") for name in ("observers", "events"))
        except ImportError:
            raise RuntimeUnavailable(
                "arriving images are heard of by watchdog, which is not installed: `pip install 'onnxray[watch]'`"
            ) from None
        heard, wake, recursive, folder = self._closed, self._wake, self.recursive, self.folder

        class Handler(events.FileSystemEventHandler):  # type: ignore[name-defined, misc]
            def on_closed(self, event: Any) -> None:
                take(event.src_path)

            def on_moved(self, event: Any) -> None:
                take(event.dest_path)

        def take(given: Any) -> None:
            path = Path(os.fsdecode(given))
            if _is_image(path.name) and (recursive or path.parent == folder):
                heard[path] = None
                wake.set()

        self._observer = observers.Observer()
        try:
            self._observer.schedule(Handler(), str(self.folder), recursive=self.recursive)
            self._observer.start()
        except OSError as error:
            self._observer = None
            self.say(f"no events of {str(self.folder)!r} ({error.strerror or error}): it is looked at every second")


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)
