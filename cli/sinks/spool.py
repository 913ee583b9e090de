"""Records on their way to a receiver that may be away: on disk until it has taken them, sent in order by a thread."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ...engine.atomic import atomic, holder_of, leftover, take_lock
from ...engine.errors import OutputError
from .sink import Record

# Seconds before a receiver that is away is tried again: the first time, and at most.
_FIRST_PAUSE, _MOST_PAUSE = 1.0, 60.0
# Seconds in which the end of a run still sends what waits.
_LAST_SECONDS = 10.0
# Seconds that a single try may go on beyond that.
_ONE_TRY = 15.0
_NAME = re.compile(r"(\d{12})-([0-9A-Za-z]+)\.json")
_SENT = re.compile(r"sent-([0-9A-Za-z]+)\.json")


class Away(Exception):
    """The receiver does not take anything now: it is tried again."""


class Refused(Exception):
    """The receiver will never take this record."""


class Spool:
    """A folder with a file for each record that waits, under a number that gives the order, for one process at a time.

    The record that was sent last stays under another name: after a kill it may come once more, and is known by that.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Find what an earlier run has left. Raises OutputError, also where another process uses the folder."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.folder / ".lock")
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            raise OutputError(f"cannot write {str(self.folder)!r}: {error.strerror or error}") from error
        if lock is None:
            holder = holder_of(self.folder / ".lock")
            raise OutputError(f"{str(self.folder)!r} is in use ({holder}): give each command a folder with #spool=DIR")
        self._lock = lock
        for name in filter(leftover, names):  # of a process that was killed
            (self.folder / name).unlink(missing_ok=True)
        self._waiting = deque(name for name in names if _NAME.fullmatch(name))
        self._keys = {_key(name) for name in self._waiting}
        self._sent = {found[1]: found[0] for found in map(_SENT.fullmatch, names) if found}
        self._next = 1 + int(self._waiting[-1][:12]) if self._waiting else 1

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: str, body: bytes) -> None:
        """Put a record at the end, unless it waits already or was sent last; it is on disk then. Raises OutputError."""
        if key in self._sent or key in self._keys:
            return
        name = f"{self._next:012d}-{key}.json"
        with atomic(self.folder / name) as temporary, temporary.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        try:
            _sync(self.folder)
        except OSError as error:
            raise OutputError(f"cannot write {str(self.folder)!r}: {error.strerror or error}") from error
        self._next += 1
        self._keys.add(key)
        self._waiting.append(name)

    def first(self) -> tuple[str, bytes]:
        """The key and the bytes of the record whose turn it is. Raises OSError."""
        name = self._waiting[0]
        return _key(name), (self.folder / name).read_bytes()

    def sent(self) -> None:
        """The first one was taken. Raises OSError."""
        key = _key(self._waiting[0])
        (self.folder / self._waiting[0]).replace(self.folder / f"sent-{key}.json")
        self._keys.discard(_key(self._waiting.popleft()))
        before, self._sent = self._sent, {key: f"sent-{key}.json"}
        for name in set(before.values()) - set(self._sent.values()):
            (self.folder / name).unlink(missing_ok=True)

    def forget(self) -> None:
        """Leave the first one out: its file is gone."""
        self._keys.discard(_key(self._waiting.popleft()))

    def refused(self) -> Path:
        """Put the first one aside; where it is then. Raises OSError."""
        target = self.folder / "refused" / self._waiting[0]
        target.parent.mkdir(exist_ok=True)
        (self.folder / self._waiting[0]).replace(target)
        self._keys.discard(_key(self._waiting.popleft()))
        return target

    def close(self) -> None:
        self._lock.release()


class Sender:
    """Sends what waits in a spool, in order, in a thread of its own.

    name: the receiver, for messages. send: takes a key and bytes; raises Away or Refused. tell: takes what is to be
    said, but for errors.
    """

    def __init__(
        self,
        name: str,
        spool: Spool,
        send: Callable[[str, bytes], None],
        first_pause: float = _FIRST_PAUSE,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.spool, self.send, self.first_pause = name, spool, send, first_pause
        self.tell = say if tell is None else tell
        self._pause, self._is_away = first_pause, False
        self._changed = threading.Condition()
        self._end: float | None = None
        self._thread = threading.Thread(target=self._run, name="onnxray-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, record: Record, body: bytes) -> None:
        """Keep a record and send it when its turn comes. Raises OutputError where it cannot be kept."""
        self.add_bytes(record.id, body)

    def add_bytes(self, key: str, body: bytes) -> None:
        """The same under a key."""
        key = re.sub(r"[^0-9A-Za-z]", "", key)[:80] or "0"
        with self._changed:
            self.spool.add(key, body)
            self._changed.notify_all()

    def close(self) -> None:
        """Send what waits, for some seconds where the receiver takes it; the rest stays for the next start."""
        with self._changed:
            self._end = time.monotonic() + _LAST_SECONDS
            self._changed.notify_all()
        self._thread.join(_LAST_SECONDS + _ONE_TRY)
        if rest := len(self.spool):
            self.tell(f"{self.name}: {_records(rest)} in {str(self.spool.folder)!r} will be sent at the next start")
        if not self._thread.is_alive():
            self.spool.close()

    def say_away(self, reason: str) -> None:
        """Say once that the receiver takes nothing."""
        if not self._is_away:
            folder = str(self.spool.folder)
            self.tell(f"{self.name} takes no records now ({reason}): they are kept in {folder!r} and sent when it does")
        self._is_away = True

    def _run(self) -> None:
        while self._wait():
            if self._one():
                self._pause = self.first_pause
                continue
            with self._changed:
                if self._end is not None:
                    return
                self._changed.wait_for(lambda: self._end is not None, self._pause)
            self._pause = min(_MOST_PAUSE, 2 * self._pause)

    def _wait(self) -> bool:
        """Until something waits; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.spool) or self._end is not None)
            return bool(len(self.spool)) and (self._end is None or time.monotonic() < self._end)

    def _one(self) -> bool:
        """Send the first record; False where it has to wait."""
        try:
            self.send(*self.spool.first())
            with self._changed:
                self.spool.sent()
        except Refused as error:
            return self._put_aside(str(error))
        except Away as error:
            self.say_away(str(error))
            return False
        except FileNotFoundError:  # somebody has removed it
            with self._changed:
                self.spool.forget()
            return True
        except OSError as error:  # of the spool
            self.say_away(f"{str(self.spool.folder)!r}: {error.strerror or error}")
            return False
        if self._is_away:
            self.tell(f"{self.name} takes records again, {len(self.spool)} are waiting")
            self._is_away = False
        return True

    def _put_aside(self, reason: str) -> bool:
        try:
            with self._changed:
                path = self.spool.refused()
        except OSError as error:
            self.say_away(f"{str(self.spool.folder)!r}: {error.strerror or error}")
            return False
        say(f"error: {self.name} refuses a record ({reason}): it is in {str(path)!r}, the others go on")
        return True


def say(text: str) -> None:
    """One line on stderr, without what steers a terminal."""
    line = " ".join(text.split())
    sys.stderr.write(f"onnxray: {''.join(c if c.isprintable() else '?' for c in line)}\n")
    sys.stderr.flush()


def _key(name: str) -> str:
    return name[13:-5]


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"


def _sync(folder: Path) -> None:
    """The name of a new file on disk as well, where folders can be opened for that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
