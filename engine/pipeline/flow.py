"""Stages in threads that images flow through: decoding, inference in batches, rendering.

    submit -> [decode] -> waiting -> [infer, several together] -> [render] -> ticket

The number of images inside is bounded: `submit` waits for a place. Threads know the state only, not the `Flow` itself,
so that one which nobody holds any more is collected and its threads end.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Queue, SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from ..errors import Busy, PipelineClosed, ShapeError
from .stats import Recorder, Stats
from .ticket import Ticket

R = TypeVar("R")


@dataclass(frozen=True)
class Stages:
    """What is done with an image.

    decode: from what was submitted to what `infer` takes. infer: from several of these to as many results, in order.
    render: from such a result to that of the ticket. group: images run together only where it gives the same for both.
    """

    infer: Callable[[Sequence[Any]], Sequence[Any]]
    decode: Callable[[Any], Any] | None = None
    render: Callable[[Any], Any] | None = None
    group: Callable[[Any], Hashable] | None = None


@dataclass(frozen=True)
class Sizes:
    """workers: threads of inference. queue: images that wait besides those in work, at most. batch: images that run
    together, at most. max_delay_ms: how long the first image of a batch waits for others. decoders, renderers: threads
    of these stages.
    """

    workers: int = 2
    queue: int = 8
    batch: int = 1
    max_delay_ms: float = 5.0
    decoders: int = 1
    renderers: int = 1

    def __post_init__(self) -> None:
        for name in ("workers", "queue", "batch", "decoders", "renderers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ShapeError(f"a pipeline with {name}={value!r} cannot work: give a whole number of at least 1")
        delay = self.max_delay_ms
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < float("inf"):
            raise ShapeError(f"a pipeline with max_delay_ms={delay!r} cannot work: give milliseconds, 0 or more")

    @property
    def capacity(self) -> int:
        """Images inside at once, at most."""
        return self.queue + self.workers * self.batch


class _Job:
    """An image on its way. value: what the last stage made of it."""

    __slots__ = ("came", "group", "ready", "ticket", "value")

    def __init__(self, ticket: Ticket[Any], value: Any) -> None:
        self.ticket, self.value = ticket, value
        self.came = time.perf_counter()
        self.ready = 0.0
        self.group: Hashable = None


class _State:
    """What the threads of a flow share."""

    def __init__(self, stages: Stages, sizes: Sizes) -> None:
        self.stages, self.sizes = stages, sizes
        self.recorder = Recorder()
        self.inside = 0
        self.closed = self.aborted = self.stopped = False
        self.lock = threading.Lock()
        self.room, self.ready, self.empty = (threading.Condition(self.lock) for _ in range(3))
        self.forming = threading.Lock()  # one worker at a time gathers a batch: two would each get half
        self.waiting: deque[_Job] = deque()
        self.to_decode: SimpleQueue[_Job | None] = SimpleQueue()
        self.to_render: SimpleQueue[_Job | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        loops: list[tuple[str, Callable[[], None], int]] = [("infer", self._infer, self.sizes.workers)]
        if self.stages.decode is not None:
            loops.append(("decode", self._decode, self.sizes.decoders))
        if self.stages.render is not None:
            loops.append(("render", self._render, self.sizes.renderers))
        for name, loop, count in loops:
            for _ in range(count):
                self.threads.append(threading.Thread(target=loop, name=f"onnxray-{name}", daemon=True))
        for thread in self.threads:
            thread.start()

    # --- coming and going ---

    def enter(self, ticket: Ticket[Any], item: Any, wait: bool, timeout: float | None) -> None:
        due = None if timeout is None else time.monotonic() + timeout
        with self.lock:
            while self.inside >= self.sizes.capacity and not self.closed:
                left = None if due is None else due - time.monotonic()
                if not wait or (left is not None and left <= 0):
                    raise Busy(
                        f"the pipeline is full ({self.inside} images wait or are in work): submit later, let submit "
                        "wait, or give a longer queue"
                    )
                self.room.wait(left)
            if self.closed:
                raise PipelineClosed("the pipeline is closed: it takes no more images")
            self.inside += 1
        job = _Job(ticket, item)
        if self.stages.decode is not None:
            self.to_decode.put(job)
        else:
            self._is_ready(job)

    def leave(self, job: _Job, error: BaseException | None = None) -> None:
        self.recorder.finished(time.perf_counter() - job.came, error is not None)
        if error is None:
            job.ticket.succeed(job.value)
        else:
            job.ticket.fail(error)
        with self.lock:
            self.inside -= 1
            self.room.notify()
            if not self.inside:
                self.empty.notify_all()

    def end(self, abort: bool) -> None:
        """Take no more images, wait until those inside have left, and end the threads; safe to be called again."""
        with self.lock:
            self.closed = True
            self.aborted = self.aborted or abort
            self.room.notify_all()
            self.ready.notify_all()
            while self.inside:
                # Woken now and then: on some systems a wait without an end hears no Ctrl-C.
                self.empty.wait(0.5)
            self.stopped = True
            self.ready.notify_all()
        for _ in range(self.sizes.decoders):
            self.to_decode.put(None)
        for _ in range(self.sizes.renderers):
            self.to_render.put(None)
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join()

    def _dropped(self, job: _Job) -> bool:
        """Whether the pipeline was stopped before this image's turn."""
        if self.aborted:
            self.leave(job, PipelineClosed("the pipeline was stopped before this image's turn"))
        return self.aborted

    # --- the stages ---

    def _decode(self) -> None:
        while (job := self.to_decode.get()) is not None:
            if not self._dropped(job) and self._step(job, "decode", self.stages.decode):
                self._is_ready(job)

    def _render(self) -> None:
        while (job := self.to_render.get()) is not None:
            if self._step(job, "render", self.stages.render):
                self.leave(job)

    def _step(self, job: _Job, name: str, work: Callable[[Any], Any] | None) -> bool:
        """Do one stage of one image; False where it failed."""
        assert work is not None
        start = time.perf_counter()
        try:
            job.value = work(job.value)
        except BaseException as error:  # the thread goes on, whatever it was
            self.leave(job, error)
            return False
        finally:
            self.recorder.add(name, time.perf_counter() - start)
        return True

    def _is_ready(self, job: _Job) -> None:
        try:
            job.group = self.stages.group(job.value) if self.stages.group is not None else None
        except BaseException as error:  # the thread goes on, whatever it was
            self.leave(job, error)
            return
        job.ready = time.perf_counter()
        with self.lock:
            self.waiting.append(job)
            self.ready.notify()

    def _infer(self) -> None:
        while jobs := self._gathered():
            left = [job for job in jobs if not self._dropped(job)]
            if left:
                self._run(left)
            del jobs, left  # else the last images are kept until the next come

    def _gathered(self) -> list[_Job]:
        """The next images that run together; none once the flow has stopped."""
        with self.forming, self.lock:
            while not self.waiting and not self.stopped:
                self.ready.wait()
            if not self.waiting:
                return []
            jobs = [self.waiting.popleft()]
            due = jobs[0].ready + self.sizes.max_delay_ms / 1000
            while len(jobs) < self.sizes.batch:
                if self.waiting:
                    if self.waiting[0].group != jobs[0].group:
                        break
                    jobs.append(self.waiting.popleft())
                    continue
                left = due - time.perf_counter()
                if left <= 0 or self.closed:
                    break
                self.ready.wait(left)
            return jobs

    def _run(self, jobs: Sequence[_Job]) -> None:
        """The results of images that run together; where that fails, each runs alone and fails alone."""
        start = time.perf_counter()
        try:
            results = self.stages.infer([job.value for job in jobs])
            if len(results) != len(jobs):
                raise ValueError(f"{len(jobs)} images gave {len(results)} results")
        except BaseException as error:
            if len(jobs) == 1:
                self.recorder.add("infer", time.perf_counter() - start)
                self.leave(jobs[0], error)
                return
            for job in jobs:
                self._run([job])
            return
        self.recorder.ran(len(jobs))
        for job, result in zip(jobs, results, strict=True):
            self.recorder.add("infer", time.perf_counter() - start)
            job.value = result
            if self.stages.render is not None:
                self.to_render.put(job)
            else:
                self.leave(job)


class Flow(Generic[R]):
    """Images in, results of type R out; for any number of threads, and a context manager.

    At the end of the block it is closed; where the block ends by an exception, Ctrl-C among them, images that wait are
    dropped and only those in work are finished.
    """

    def __init__(self, stages: Stages, sizes: Sizes) -> None:
        self._state = _State(stages, sizes)
        self._state.start()
        self._end = weakref.finalize(self, _State.end, self._state, True)

    def submit(self, item: Any, key: object = None, *, wait: bool = True, timeout: float | None = None) -> Ticket[R]:
        """Hand an image over; its result comes by the ticket. Waits for a place, at most `timeout` seconds.

        Raises Busy where there is no place and `wait` is False, or none in time; PipelineClosed.
        """
        ticket: Ticket[R] = Ticket(key)
        self._state.enter(ticket, item, wait, timeout)
        return ticket

    def map(self, items: Iterable[Any], *, errors: str = "raise", ahead: bool = False) -> Iterator[Any]:
        """The results of `items`, in order, in bounded memory: images are taken as there is room for them.

        errors: "raise" ends at the first image that fails, with its error; "return" gives the error in its place.
        ahead: items are taken in a thread of their own: results come while the next item is waited for, as from a
        camera.
        Raises ShapeError for another word, PipelineClosed, and what images fail with.
        """
        if errors not in ("raise", "return"):
            raise ShapeError(f"errors={errors!r} is neither 'raise' nor 'return'")
        tickets = self._taken_ahead(items) if ahead else self._taken(items)
        return (_of(ticket, errors == "return") for ticket in tickets)

    def _taken(self, items: Iterable[Any]) -> Iterator[Ticket[R]]:
        waiting: deque[Ticket[R]] = deque()
        for item in items:
            waiting.append(self.submit(item))
            while waiting and (waiting[0].done() or len(waiting) >= self.capacity):
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def _taken_ahead(self, items: Iterable[Any]) -> Iterator[Ticket[R]]:
        taken: Queue[Ticket[R] | None] = Queue(self.capacity)
        ended = threading.Event()
        failed: list[BaseException] = []
        state = self._state

        def take() -> None:
            try:
                for item in items:
                    ticket: Ticket[R] = Ticket()
                    state.enter(ticket, item, True, None)
                    taken.put(ticket)
                    if ended.is_set():
                        return
            except BaseException as error:
                failed.append(error)
            finally:
                taken.put(None)

        threading.Thread(target=take, name="onnxray-source", daemon=True).start()
        try:
            while (ticket := taken.get()) is not None:
                yield ticket
        finally:
            ended.set()
            while not taken.empty():  # so that the thread, if it waits for a place, can end
                taken.get_nowait()
        if failed:
            raise failed[0]

    def stats(self) -> Stats:
        """What it has done so far: see `Stats`."""
        return self._state.recorder.stats(self._state.inside)

    def totals(self) -> dict[str, tuple[int, float]]:
        """By stage ("decode", "infer", "render", "total"): how many images, and the sum of their seconds, since the
        beginning."""
        return self._state.recorder.totals()

    @property
    def depth(self) -> int:
        """How many images are inside now, waiting or in work."""
        return self._state.inside

    @property
    def capacity(self) -> int:
        """Images inside at once, at most: `queue` that wait, and `workers` times `batch` in work."""
        return self._state.sizes.capacity

    def close(self) -> None:
        """Take no more images and wait until all that were submitted are done."""
        self._state.end(abort=False)
        self._end.detach()

    def abort(self) -> None:
        """Drop what waits, whose tickets raise PipelineClosed, and wait for what is in work only."""
        self._state.end(abort=True)
        self._end.detach()

    def __enter__(self: F) -> F:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


F = TypeVar("F", bound="Flow[Any]")


def _of(ticket: Ticket[Any], returned: bool) -> Any:
    error = ticket.error()
    return error if returned and error is not None else ticket.result()
