"""Explaining images as they arrive in a folder, for months: nothing is lost or done twice, whatever ends the process.

    arrives -> whole -> read -> (rule) -> explained, measured -> sinks -> line of the journal -> moved

The line in the journal, which is on disk before anything else happens, is what makes an image done. Sinks come before
it, so that what a killed process has not written is written at the next start; a file that is in the journal and
still in the folder is only moved.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...engine.atomic import holder_of, take_lock
from ...engine.errors import ImageError, OutputError
from ...engine.pipeline.flow import Flow, Sizes, Stages
from ...engine.pipeline.ticket import Ticket
from ..files.journal import Journal
from ..sinks.registry import sinks_of
from ..sinks.sink import Sink
from ..sources.incoming import Arrived, Incoming
from ..terminal.echo import say
from .drifting import REFERENCE
from .keeper import Keeper
from .line import Found, LineOptions, Work, works_of
from .metrics import serving
from .over_images import shared_among, side_by_side

if TYPE_CHECKING:
    from ...engine.preprocess.card import Card
    from ..files.output import Output

RECORDS, LOCK = "records.jsonl", ".onnxray-lock"


@dataclass(frozen=True)
class WatchOptions(LineOptions):
    """What `onnxray watch` is asked for, in the words of the command line."""

    folder: Path
    to: Sequence[str]
    move_to: Path | None
    output: Output


def watch(options: WatchOptions) -> Watched:
    """Explain what arrives until SIGTERM, --limit or --duration; what was done.

    Raises RuleError, UnknownName, ModelError, CardError, TargetError, ImageError for what is asked for, OutputError.
    """
    folder, out = options.folder, options.output.folder
    workers, runtimes = side_by_side((), options.common.runtime, options.common.devices)
    works = works_of(options, runtimes, out / REFERENCE)
    work, done_of = works[0], shared_among(works, Work.done)
    sinks = sinks_of(options.to or (f"folder:{out / 'images'}",), options.common.quiet)
    _check_places(options, sinks)
    with ExitStack() as stack:
        lock = _lock(out)  # let go of when nobody holds it
        stack.callback(lock.release)
        journal = stack.enter_context(Journal(out / RECORDS))
        for sink in sinks:
            sink.open()
            stack.callback(sink.close)
        keeper = Keeper(folder, options.move_to, journal, sinks, work.drifting, say_of(options))
        incoming = stack.enter_context(Incoming(folder, options.selection.recursive, keeper.is_done, say_of(options)))
        stack.enter_context(_ending(keeper, incoming))
        flow: Flow[Found] = stack.enter_context(
            Flow(Stages(lambda found: [done_of(one) for one in found], _reader(work.card)), Sizes(workers, workers))
        )
        stack.enter_context(serving(options.metrics, keeper.counts, flow, work.drifting))
        say_of(options)(f"watching {str(folder)!r}: records go to {str(out / RECORDS)!r}")
        done = _loop(options, keeper, incoming, flow)
        return Watched(done, work.drifting is not None and work.drifting.alarmed)


@dataclass(frozen=True)
class Watched:
    """done: how many images; alarmed: whether drift crossed a limit."""

    done: int
    alarmed: bool


def _reader(card: Card) -> Callable[[Arrived], Found]:
    """What reads the image of a file that did not change meanwhile. It raises ImageError."""

    def read(arrived: Arrived) -> Found:
        from ..files.images import read_bytes
        from ..files.photos import photo_of

        data = read_bytes(arrived.path)
        if len(data) != arrived.size:
            raise ImageError(f"{str(arrived.path)!r} has changed while it was read")
        return Found(arrived.path, hashlib.sha256(data).hexdigest(), photo_of(arrived.path, data, card)[0])

    return read


def say_of(options: WatchOptions) -> Callable[[str], None]:
    return (lambda text: None) if options.common.quiet else say


def _loop(options: WatchOptions, keeper: Keeper, incoming: Incoming, flow: Flow[Found]) -> int:
    waiting: deque[tuple[Arrived, Ticket[Found]]] = deque()
    start, limit = time.monotonic(), options.selection.limit
    while not keeper.stop.is_set() and options.selection.lasts(time.monotonic() - start):
        while waiting and (waiting[0][1].done() or len(waiting) >= flow.capacity):
            keeper.commit(*waiting.popleft(), incoming)
        if limit is not None and keeper.done + len(waiting) >= limit:
            if not waiting:
                break
            keeper.commit(*waiting.popleft(), incoming)
            continue
        for arrived in incoming.ready(0.02 if waiting else 0.5):
            if keeper.stop.is_set() or (limit is not None and keeper.done + len(waiting) >= limit):
                incoming.again(arrived.path, 0.0)
                continue
            while len(waiting) >= flow.capacity:
                keeper.commit(*waiting.popleft(), incoming)
            waiting.append((arrived, flow.submit(arrived)))
    while waiting:
        keeper.commit(*waiting.popleft(), incoming)
    say_of(options)(f"stopped: {keeper.done} images done")
    return keeper.done


def _check_places(options: WatchOptions, sinks: Sequence[Sink]) -> None:
    """Raises OutputError for a place whose files would be taken for arriving images, ImageError for no folder."""
    folder = options.folder.resolve()
    if not folder.is_dir():
        raise ImageError(f"there is no folder {str(options.folder)!r} to watch")
    places = [options.output.folder, options.move_to, *(getattr(sink, "folder", None) for sink in sinks)]
    for place in (Path(place).resolve() for place in places if place is not None):
        if place == folder or (options.selection.recursive and place.is_relative_to(folder)):
            raise OutputError(f"{str(place)!r} is in the folder that is watched: results need another one")


def _lock(out: Path) -> Any:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = take_lock(out / LOCK)
    except OSError as error:
        raise OutputError(f"cannot write {str(out)!r}: {error.strerror or error}") from error
    if lock is None:
        raise OutputError(
            f"{str(out)!r} is in use ({holder_of(out / LOCK)}): stop that one, or give another folder with --out"
        )
    return lock


@contextmanager
def _ending(keeper: Keeper, incoming: Incoming) -> Iterator[None]:
    """SIGTERM finishes what is in work, for the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        keeper.stop.set()
        incoming.wake()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
