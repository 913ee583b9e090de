"""The runner that computes only what changes: crops through the stages of a plan, whole maps behind the last cut.

Workers share sessions of one thread each: many sessions with threads of their own, which wait actively, take the
processors from each other and are slower than the plain way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...kernels.threads import available as default_threads
from ..graph.model import Model
from ..graph.split import expose, extract, value_infos
from ..inference.session import Session
from ..runtime.memory import release_memory
from .crop_graph import CROP, build
from .crops import Crops, HiddenSample, batch_view, sample_view
from .network import Network
from .plan import Plan, Stage
from .windows import Hidden, Windows

# Called from several threads, never twice at once: numbers of windows (n,), and the values asked for (n, ...).
Consume: TypeAlias = Callable[[NDArray[np.int64], Mapping[str, NDArray[Any]]], None]

# Windows whose crops are kept at once by one worker, and their bytes.
MOST_WINDOWS = 192
MOST_BYTES = 64 << 20
# Elements of the clean maps at all cuts together that one session may hand out.
MOST_CLEAN = 16 << 20


@dataclass(frozen=True, eq=False)
class StagedRunner:
    """Runs the windows that it was made for by a plan with stages. workers: threads that work at the same time."""

    network: Network
    windows: Windows
    values: tuple[str, ...]
    plan: Plan
    workers: int
    _graphs: dict[tuple[int, int, int], Session] = field(default_factory=dict)
    _locks: dict[tuple[int, int, int], threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self,
        x: NDArray[Any],
        hidden: Hidden,
        consume: Consume,
        *,
        which: NDArray[np.int64] | None = None,
        others: Mapping[str, NDArray[Any]] | None = None,
        shared: Mapping[str, NDArray[Any]] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """See `Runner.run`."""
        known = self.network.known
        task = _Task(self, HiddenSample(x, known.axes[known.source], hidden), dict(others or {}), dict(shared or {}))
        chunks = self._chunks(np.arange(len(hidden.boxes)) if which is None else which)
        stop, turn = threading.Event(), threading.Lock()

        def work() -> None:
            while not stop.is_set():
                try:
                    chunk = chunks.pop()  # atomic
                except IndexError:
                    return
                for done, found in task.compute(chunk):
                    if stop.is_set():
                        return
                    with turn:
                        consume(done, found)
                        if progress is not None:
                            progress(len(done))

        if self.workers == 1:
            work()
            return
        with ThreadPoolExecutor(self.workers, thread_name_prefix="onnxray-occlusion") as pool:
            futures = [pool.submit(work) for _ in range(self.workers)]
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
        for future in finished:
            future.result()

    def _chunks(self, which: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Windows that one worker takes at once; those whose crops look alike are neighbours. Taken from the end."""
        keys = []
        for stage in self.plan.stages[::-1]:
            keys += [stage.columns.kinds[self.windows.of(1)], stage.rows.kinds[self.windows.of(0)]]
        order = which[np.lexsort([key[which] for key in keys])]
        # As many for every worker, in pieces small enough that none waits long for the last one.
        runs = -(-len(order) // self.plan.tail_at_once)
        pieces = max(-(-len(order) // self._window_limit()), min(runs, 2 * self.workers))
        return [piece for piece in np.array_split(order, max(1, pieces)) if len(piece)][::-1]

    def _window_limit(self) -> int:
        """How many windows' crops one worker keeps at once."""
        known, most = self.network.known, 1.0
        for stage in self.plan.stages:
            each = 0.0
            for name in stage.part.exit:
                shape = known.sizes[name] or (1,)
                tall = max(kind[name][1] for kind in stage.rows.handed)
                wide = max(kind[name][1] for kind in stage.columns.handed)
                height, width = known.axes[name]
                each += float(np.prod(shape[1:])) / shape[height] / shape[width] * tall * wide * 4
            most = max(most, each)
        return int(np.clip(MOST_BYTES // most, 1, MOST_WINDOWS))

    # --- sessions, each made when it is first needed ---

    def graph(self, number: int, row: int, column: int) -> Session:
        """The session of a stage for windows of the kinds `row` and `column`."""
        network, stage = self.network, self.plan.stages[number]

        def model() -> Model:
            return build(network.model, network.known, stage.part, stage.rows, row, stage.columns, column)

        return self._make((number, row, column), model, 1)

    def _make(self, key: tuple[int, int, int], model: Callable[[], Model], threads: int) -> Session:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # two workers make two graphs at the same time, never the same one twice
            if key not in self._graphs:
                self._graphs[key] = Session(model(), providers="cpu", threads=threads, spin=False, pooled=True)
                release_memory()
            return self._graphs[key]

    def clean(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The values at all cuts for the untouched image, (1, ...): whole maps."""
        names = list(dict.fromkeys(name for stage in self.plan.stages for name in stage.part.exit))
        if self.network.elements(names) <= MOST_CLEAN:
            session = self._make((-1, 0, 0), lambda: expose(self.network.model, names, only=True), default_threads())
            return session.run({name: feeds[name] for name in session.inputs})
        # Large images: piece by piece, so that the maps inside a piece are gone before those of the next one come.
        source = self.network.known.source
        known = {source: feeds[source]}
        for stage in self.plan.stages:
            piece = self._between(stage.part.entry, stage.part.exit)
            session = Session(piece, providers="cpu", threads=default_threads(), spin=False, pooled=True)
            known.update(session.run({name: known[name] for name in session.inputs}))
        return known

    def tail(self) -> Session:
        """From the last cut on, up to the heavy end where there is one."""
        ends = self.values if self.plan.heavy_end is None else (self.plan.heavy_end,)
        return self._make((-2, 0, 0), lambda: self._between(self.plan.last, ends), 1)

    def end(self, start: str) -> Session:
        """From the heavy end on."""
        return self._make((-3, 0, 0), lambda: self._between((start,), self.values), 1)

    def _between(self, entry: Sequence[str], exit: Sequence[str]) -> Model:
        model = self.network.model
        return extract(model, outputs=value_infos(model, exit), inputs=value_infos(model, entry))


@dataclass(frozen=True)
class _Batch:
    """Windows of one chunk that go through a stage in one run: the kinds of their crops are `row` and `column`.

    members: their places in the chunk; windows: their numbers; rows, columns: which interval of each axis they have.
    """

    stage: Stage
    row: int
    column: int
    members: NDArray[np.int64]
    windows: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def size(self, name: str) -> tuple[int, int]:
        """Height and width of the crops of a value that the stage reads."""
        return self.stage.rows.length[self.row][name], self.stage.columns.length[self.column][name]

    def at(self, name: str) -> NDArray[np.int64]:
        """Where those crops lie in whole maps, (n, 2)."""
        return np.stack([self.stage.rows.start[name][self.rows], self.stage.columns.start[name][self.columns]], 1)

    def given_at(self, name: str) -> NDArray[np.int64]:
        """Where the crops of a value that the stage makes lie in whole maps, (n, 2)."""
        return np.stack([self.stage.rows.given[name][self.rows], self.stage.columns.given[name][self.columns]], 1)


class _Task:
    """One sample and its windows, on a prepared model."""

    def __init__(
        self,
        runner: StagedRunner,
        sample: HiddenSample,
        others: dict[str, NDArray[Any]],
        shared: dict[str, NDArray[Any]],
    ) -> None:
        self.runner, self.sample, self.others, self.shared = runner, sample, others, shared
        self.known = runner.network.known
        source = self.known.source
        self.clean: dict[str, NDArray[Any]] = {source: sample.x}
        self.clean.update(runner.clean({**others, **shared, source: sample.x}))

    def compute(self, chunk: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
        """Yields windows and their values, batch by batch."""
        runner, plan = self.runner, self.runner.plan
        maps = self._staged(chunk)
        if plan.ends:
            for at, window in enumerate(chunk):
                yield np.array([window]), {name: self._pasted(name, [at], maps) for name in runner.values}
            return
        size, found = plan.tail_at_once, []
        for start in range(0, len(chunk), size):
            rows = range(start, min(start + size, len(chunk)))
            feeds = {name: self._pasted(name, rows, maps) for name in plan.last}
            got = runner.tail().run(self._with_others(runner.tail(), feeds, len(rows)))
            if plan.heavy_end is None:
                yield chunk[start : start + size], got
            else:
                found.append(got[plan.heavy_end])
        if plan.heavy_end is not None:
            feeds, end = {plan.heavy_end: np.concatenate(found)}, runner.end(plan.heavy_end)
            yield chunk, end.run(self._with_others(end, feeds, len(chunk)))

    def _with_others(self, session: Session, feeds: dict[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        """Feeds of a session behind the last cut: those given, and what it takes of the model's other inputs."""
        wanted = {v.name for v in session.model.inputs}
        rows = {name: np.repeat(array, count, 0) for name, array in self.others.items() if name in wanted}
        return {**feeds, **rows, **{name: array for name, array in self.shared.items() if name in wanted}}

    def _staged(self, chunk: NDArray[np.int64]) -> dict[str, Crops]:
        """For every value of the last cut: the changed crop of each window, and where it lies."""
        maps: dict[str, Crops] = {}
        for number, stage in enumerate(self.runner.plan.stages):
            found = {name: Crops(len(chunk)) for name in stage.part.exit}
            for batch in self._batches(stage, chunk):
                session = self.runner.graph(number, batch.row, batch.column)
                got = session.run({name: self._gathered(batch, name, maps) for name in stage.part.entry})
                for name in stage.part.exit:
                    array = np.ascontiguousarray(got[name + CROP])
                    found[name].add(batch_view(array, self.known.axes[name]), batch.members, batch.given_at(name))
            maps = found
        return maps

    def _batches(self, stage: Stage, chunk: NDArray[np.int64]) -> Iterator[_Batch]:
        """The runs of a stage for the windows of a chunk."""
        rows, columns = self.runner.windows.of(0)[chunk], self.runner.windows.of(1)[chunk]
        tall, wide = stage.rows.kinds[rows], stage.columns.kinds[columns]
        for kind in np.unique(tall * stage.columns.count + wide):
            row, column = divmod(int(kind), stage.columns.count)
            members = np.flatnonzero((tall == row) & (wide == column))
            size = int(stage.limits[row, column])
            for start in range(0, len(members), size):
                part = members[start : start + size]
                yield _Batch(stage, row, column, part, chunk[part], rows[part], columns[part])

    def _gathered(self, batch: _Batch, name: str, maps: Mapping[str, Crops]) -> NDArray[Any]:
        """The crops (n, ...) of a value that a stage reads, with what has changed of it."""
        axes, count = self.known.axes[name], len(batch.members)
        clean = sample_view(self.clean[name][0], axes)
        height, width = batch.size(name)
        out = np.empty((count, clean.shape[0], height, width, clean.shape[3]), clean.dtype)
        if name == self.known.source:
            self.sample.crops(out, batch.at(name), batch.windows)
        else:
            maps[name].paste(out, clean, batch.at(name), batch.members)
        shape = list(self.clean[name].shape)
        shape[0], shape[axes[0]], shape[axes[1]] = count, height, width
        return out.reshape(shape)

    def _pasted(self, name: str, rows: Sequence[int], maps: Mapping[str, Crops]) -> NDArray[Any]:
        """Whole maps (n, ...) of a value, the changed crops pasted in."""
        clean = sample_view(self.clean[name][0], self.known.axes[name])
        out = np.empty((len(rows), *clean.shape), clean.dtype)
        maps[name].paste(out, clean, np.zeros((len(rows), 2), np.int64), np.asarray(rows))
        return out.reshape(len(rows), *self.clean[name].shape[1:])
