"""What `onnxray watch` has done: handed to the sinks, written down, moved; and known again after a restart."""

from __future__ import annotations

import errno
import filecmp
import functools
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.atomic import atomic
from ...engine.errors import ImageError, OnnxrayError, OutputError
from ...engine.pipeline.ticket import Ticket
from ..files.journal import Journal
from ..sinks.sink import Record, Sink
from ..sources.incoming import Arrived, Incoming
from ..terminal.echo import say
from .drifting import Alarms, Drifting
from .line import Found

if TYPE_CHECKING:
    from ...engine.pipeline.drift import Look

# Seconds after its last change in which a file that cannot be read may still become whole.
_PATIENCE = 10.0
# Seconds before a full disk is tried again: the first time, and at most.
_FIRST_PAUSE, _MOST_PAUSE = 1.0, 60.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Stopped(Exception):
    """The end was asked for while something waited."""


@dataclass
class Keeper:
    """Writes down what is done of the files in `folder`, and knows it again. move_to: where they go then. tell: takes
    what --quiet leaves out."""

    folder: Path
    move_to: Path | None
    journal: Journal
    sinks: Sequence[Sink]
    drifting: Drifting | None = None
    tell: Callable[[str], None] = say

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.done = self.failed = 0
        self._said_full = False
        self._alarms = Alarms(self.sinks)
        # Of files that are still there: those that were moved need no memory.
        self._known: dict[str, tuple[int, int]] = {}
        for record in self.journal.records():
            path, size, mtime_ns = (record.get(key) for key in ("path", "size", "mtime_ns"))
            if isinstance(path, str) and isinstance(size, int) and isinstance(mtime_ns, int) and os.path.exists(path):
                self._known[path] = size, mtime_ns

    def counts(self) -> tuple[int, int]:
        """How many images have a result, and how many failed."""
        return self.done - self.failed, self.failed

    def is_done(self, arrived: Arrived) -> bool:
        """Whether a file is in the journal; it is moved where that was left undone."""
        done = self._known.get(str(arrived.path)) == (arrived.size, arrived.mtime_ns)
        if done and self.move_to is not None:
            self._move(arrived)
        return done

    def commit(self, arrived: Arrived, ticket: Ticket[Found], incoming: Incoming) -> None:
        """Hand a result to the sinks, write it down, move the file."""
        error = ticket.error()
        if error is not None and not isinstance(error, Exception):
            raise error  # an interrupt
        found = None if error is not None else ticket.result()
        if error is not None and self._not_yet(arrived, error, incoming):
            return
        fields, record = self._record(arrived, found, error)
        try:
            if found is not None and found.look is not None and self.drifting is not None:
                self._insist(functools.partial(self._measure, found.look, fields))
                self._insist(lambda: self._alarms.take(record.id, fields))
            for sink in self.sinks:
                self._insist(lambda sink=sink: sink.write(record))  # type: ignore[misc]
            self._insist(lambda: self.journal.append({"id": record.id, **fields}))
        except _Stopped:
            return  # not in the journal: done again at the next start
        self.done += 1
        self.failed += error is not None
        self._known[str(arrived.path)] = arrived.size, arrived.mtime_ns
        if error is not None:
            say(f"error: {fields['error']}")
        if self.move_to is not None:
            self._move(arrived)
            incoming.forget(arrived.path)

    def _measure(self, look: Look, fields: dict[str, Any]) -> None:
        """Add the drift to the record's fields."""
        assert self.drifting is not None
        fields["drift"] = self.drifting.fields(look, fields["path"], self.tell)

    def _not_yet(self, arrived: Arrived, error: Exception, incoming: Incoming) -> bool:
        """Whether a file that failed has changed, gone, or may be only half there: then it comes again, or not at
        all."""
        try:
            status = arrived.path.stat()
        except OSError:
            incoming.forget(arrived.path)
            return True
        changed = (status.st_size, status.st_mtime_ns) != (arrived.size, arrived.mtime_ns)
        young = isinstance(error, ImageError) and 0 <= time.time() - status.st_mtime < _PATIENCE
        if changed or young:
            incoming.again(arrived.path)
            return True
        return False

    def _record(
        self, arrived: Arrived, found: Found | None, error: BaseException | None
    ) -> tuple[dict[str, Any], Record]:
        sha256 = None if found is None else found.sha256
        fields: dict[str, Any] = {
            "path": str(arrived.path),
            "size": arrived.size,
            "mtime_ns": arrived.mtime_ns,
            "sha256": sha256,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "status": "failed" if found is None else "done",
        }
        if found is None:
            fields["error"] = _words(arrived.path, error)
        else:
            fields |= found.fields
        about = f"{arrived.path}|{arrived.size}|{arrived.mtime_ns}|{sha256}"
        key = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()
        pixels, explanations = (None, ()) if found is None else (found.pixels, found.explanations)
        return fields, Record(key, arrived.path, fields, pixels, explanations)

    def _insist(self, action: Callable[[], None]) -> None:
        """Do it; a full disk is waited for. Raises _Stopped where the end comes first."""
        pause = _FIRST_PAUSE
        while True:
            try:
                action()
            except OutputError as error:
                if not _is_full(error):
                    raise
                if not self._said_full:
                    say(f"{error}: it is tried again until there is room")
                    self._said_full = True
                if self.stop.wait(pause):
                    raise _Stopped from None
                pause = min(_MOST_PAUSE, 2 * pause)
            else:
                if self._said_full:
                    say("there is room on the disk again")
                    self._said_full = False
                return

    def _move(self, arrived: Arrived) -> None:
        """Move a file that is done; one that is in use, or gone, stays, and the journal knows it."""
        assert self.move_to is not None
        try:
            _moved(arrived.path, self.move_to / arrived.path.relative_to(self.folder))
        except FileNotFoundError:
            pass  # somebody has taken it away
        except OSError as error:
            say(f"cannot move {str(arrived.path)!r}: {error.strerror or error}; it stays, and is known as done")
            return
        self._known.pop(str(arrived.path), None)


def _moved(path: Path, wanted: Path) -> None:
    """Move a file, to another name where there is another file of that name; safe against kills. Raises OSError."""
    target, number = wanted, 2
    target.parent.mkdir(parents=True, exist_ok=True)
    while target.exists():
        if filecmp.cmp(path, target, shallow=False):  # left there by a move that was killed
            path.unlink()
            return
        target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        number += 1
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic(target) as temporary:
            shutil.copy2(path, temporary)
        path.unlink()


def _words(path: Path, error: BaseException | None) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImageError):
        return text
    return f"{path}: {text}" if isinstance(error, OnnxrayError) else f"{path}: {type(error).__name__}: {text}"


def _is_full(error: BaseException | None) -> bool:
    """Whether a disk is full, at the root of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False
