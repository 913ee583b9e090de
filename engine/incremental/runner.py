"""Exact incremental inference: what a model says to many copies of one image, each with another part of it hidden.

A copy differs from the image only inside its window, and every map only inside the window's receptive field. The model
is cut into stages (`plan.py`); the maps of the untouched image at the cuts are computed once; for a batch of windows
only the crops that change run through the early stages (`crop_geometry.py`), are pasted into those maps by a kernel
(`kernels/occlusion.py`), and the rest of the network runs on whole maps. The values are those of the whole network, but
for the rounding of kernels that ONNX Runtime chooses by size.

Nakandala, Kumar and Papakonstantinou, "Incremental and approximate inference for faster occlusion-based deep CNN
explanations", SIGMOD 2019.

Workers share sessions of one thread each: many sessions with threads of their own, which wait actively, take the
processors from each other and are slower than the plain way.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto

from ...kernels import occlusion as kernels
from ...kernels.threads import available as default_threads
from ..errors import ModelError, ShapeError
from ..graph.constant_folding import fold_constants
from ..graph.dynamic_batch.make_dynamic import make_dynamic
from ..graph.model import Model
from ..graph.split import expose, extract, value_infos
from ..inference.batches import RunOptions, run_generated
from ..inference.session import Session
from ..inspect.concrete_shapes import concrete_shapes
from ..runtime.memory import release_memory
from ..runtime.providers import resolve_providers
from .crop_graph import CROP, build
from .locality import locality
from .plan import Plan, Planner, Windows

# Called from several threads, never twice at once: numbers of windows (n,), and the values asked for (n, ...).
Consume: TypeAlias = Callable[[NDArray[np.int64], Mapping[str, NDArray[Any]]], None]

# Windows whose crops are kept at once by one worker, and their bytes.
MOST_WINDOWS = 192
# Elements of the clean maps at all cuts together that one session may hand out.
MOST_CLEAN = 16 << 20
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Hidden:
    """Copies of one sample, each with a part of it replaced.

    boxes: int64 (P, 4), y0, x0, y1, x1 in pixels of the tensor. fill: one sample's tensor, what is seen inside the
    windows; or a function that gives it for the number of a window. segments (H, W) and ids (P,), int32: only the
    pixels of a box that belong to the segment are hidden.
    """

    boxes: NDArray[np.int64]
    fill: NDArray[Any] | Callable[[int], NDArray[Any]]
    segments: NDArray[np.int32] | None = None
    ids: NDArray[np.int32] | None = None


@dataclass
class Incremental:
    """A model made ready for many windows of one image size; made by `incremental`.

    plan: the stages and the reason for them. workers: threads that work side by side. heavy_end: see
    `Planner.heavy_end`. tail_at_once: rows of one run behind the last cut.
    """

    model: Model
    source: str
    axes: tuple[int, int]
    values: tuple[str, ...]
    plan: Plan
    workers: int
    runtime: RunOptions
    planner: Planner | None = None
    heavy_end: str | None = None
    tail_at_once: int = 1
    _graphs: dict[tuple[int, int, int], Session] = field(default_factory=dict)
    _limits: dict[int, NDArray[np.int64]] = field(default_factory=dict)
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
        """Compute the values for every window of `hidden` and hand them to `consume`, batch by batch.

        x: one sample (1, ...). which: the numbers of the windows to look at, all of them by default. others: inputs
        that have a row for every sample, (1, ...); shared: inputs that are the same for all. progress: called with
        the number of windows done, after every batch.

        Raises what running the model raises; an interruption stops all workers before it is passed on.
        """
        task = _Task(self, x, hidden, dict(others or {}), dict(shared or {}))
        which = np.arange(len(hidden.boxes)) if which is None else which
        if not self.plan.stages:
            task.plainly(which, consume, progress)
            return
        chunks = self._chunks(which)
        stop = threading.Event()
        given = threading.Lock()

        def work() -> None:
            while not stop.is_set():
                with given:
                    if not chunks:
                        return
                    chunk = chunks.pop()
                for done, found in task.compute(chunk):
                    if stop.is_set():
                        return
                    with self._lock:
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
        assert self.planner is not None
        windows, keys = self.planner.windows, []
        for stage in self.plan.stages[::-1]:
            keys += [stage.columns.kinds[windows.of(1)], stage.rows.kinds[windows.of(0)]]
        order = which[np.lexsort([key[which] for key in keys])]
        # As many for every worker, in pieces small enough that none waits long for the last one.
        pieces = max(-(-len(order) // self._window_limit()), min(-(-len(order) // self.tail_at_once), 2 * self.workers))
        return [piece for piece in np.array_split(order, max(1, pieces)) if len(piece)][::-1]

    def _window_limit(self) -> int:
        assert self.planner is not None
        sizes, most = self.planner.known.sizes, 1.0
        for stage in self.plan.stages:
            for part, geometry in ((stage.part.exit, (stage.rows, stage.columns)),):
                each = 0.0
                for name in part:
                    shape = sizes[name] or (1,)
                    tall = max(kind[name][1] for kind in geometry[0].handed)
                    wide = max(kind[name][1] for kind in geometry[1].handed)
                    height, width = self.planner.known.axes[name]
                    each += float(np.prod(shape[1:])) / shape[height] / shape[width] * tall * wide * 4
                most = max(most, each)
        return int(np.clip(MOST_BYTES // most, 1, MOST_WINDOWS))

    # --- sessions, each made when it is first needed ---

    def graph(self, number: int, row: int, column: int) -> Session:
        """The session of a stage for windows of the kinds `row` and `column`."""
        assert self.planner is not None
        planner, stage = self.planner, self.plan.stages[number]

        def model() -> Model:
            return build(planner.model, planner.known, stage.part, stage.rows, row, stage.columns, column)

        return self._make((number, row, column), model, 1)

    def limits(self, number: int) -> NDArray[np.int64]:
        """How many windows of each pair of kinds go into one run of a stage."""
        assert self.planner is not None
        if number not in self._limits:
            stage = self.plan.stages[number]
            self._limits[number] = self.planner.at_once(stage.part, stage.rows, stage.columns)
        return self._limits[number]

    def _make(self, key: tuple[int, int, int], model: Callable[[], Model], threads: int) -> Session:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # two workers make two graphs side by side, never the same one twice
            if key not in self._graphs:
                self._graphs[key] = Session(model(), providers="cpu", threads=threads, spin=False, pooled=True)
                release_memory()
            return self._graphs[key]

    def clean(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The values at all cuts for the untouched image, (1, ...): whole maps."""
        names = list(dict.fromkeys(name for stage in self.plan.stages for name in stage.part.exit))
        assert self.planner is not None
        if self.planner.elements(names) <= MOST_CLEAN:
            session = self._make((-1, 0, 0), lambda: expose(self.model, names, only=True), default_threads())
            return session.run({name: feeds[name] for name in session.inputs})
        # Large images: piece by piece, so that the maps inside a piece are gone before those of the next one come.
        known = {self.source: feeds[self.source]}
        for stage in self.plan.stages:
            piece = self._between(stage.part.entry, stage.part.exit)
            session = Session(piece, providers="cpu", threads=default_threads(), spin=False, pooled=True)
            known.update(session.run({name: known[name] for name in session.inputs}))
        return known

    def tail(self) -> Session:
        """From the last cut on, up to the heavy end where there is one."""
        ends = self.values if self.heavy_end is None else (self.heavy_end,)
        return self._make((-2, 0, 0), lambda: self._between(self.plan.last, ends), 1)

    def end(self) -> Session:
        """From the heavy end on."""
        assert self.heavy_end is not None
        start = (self.heavy_end,)
        return self._make((-3, 0, 0), lambda: self._between(start, self.values), 1)

    def _between(self, entry: Sequence[str], exit: Sequence[str]) -> Model:
        return extract(self.model, outputs=value_infos(self.model, exit), inputs=value_infos(self.model, entry))


class _Crops:
    """What has changed of one value, for every window of a chunk: crops of several sizes, batch by batch."""

    def __init__(self, count: int) -> None:
        self.batches: list[NDArray[Any]] = []  # (n, A, h, w, K) each
        self.batch = np.zeros(count, np.int64)
        self.place = np.zeros(count, np.int64)
        self.at = np.zeros((count, 2), np.int64)

    def add(
        self, batch: NDArray[Any], windows: NDArray[np.int64], top: NDArray[np.int64], left: NDArray[np.int64]
    ) -> None:
        self.batch[windows], self.place[windows] = len(self.batches), np.arange(len(windows))
        self.at[windows, 0], self.at[windows, 1] = top, left
        self.batches.append(batch)

    def paste(self, out: NDArray[Any], clean: NDArray[Any], at: NDArray[np.int64], windows: NDArray[np.int64]) -> None:
        """out[i] = the part of `clean` at at[i], with the crop of window windows[i] in its place."""
        batch, place = self.batch[windows], self.place[windows]
        # Windows that came side by side out of one batch go into one call.
        breaks = np.flatnonzero((batch[1:] != batch[:-1]) | (place[1:] != place[:-1] + 1)) + 1
        for start, end in zip([0, *breaks], [*breaks, len(windows)], strict=True):
            crops = self.batches[batch[start]][place[start] : place[start] + end - start]
            kernels.crops(out[start:end], clean, at[start:end], crops, self.at[windows[start:end]])


class _Task:
    """One image and its windows, on a model made ready."""

    def __init__(
        self,
        ready: Incremental,
        x: NDArray[Any],
        hidden: Hidden,
        others: dict[str, NDArray[Any]],
        shared: dict[str, NDArray[Any]],
    ) -> None:
        self.ready, self.hidden, self.others, self.shared = ready, hidden, others, shared
        self.x = np.ascontiguousarray(x)
        self.axes = ready.axes
        self.fill = None if callable(hidden.fill) else np.ascontiguousarray(hidden.fill, x.dtype)
        self.clean: dict[str, NDArray[Any]] = {ready.source: self.x}
        if ready.plan.stages:
            self.clean.update(ready.clean({**others, **shared, ready.source: self.x}))

    def compute(self, chunk: NDArray[np.int64]) -> Any:
        """Yields windows and their values, batch by batch."""
        maps = self._staged(chunk)
        if self.ready.plan.ends:
            for at, window in enumerate(chunk):
                yield (
                    np.array([window]),
                    {name: self._pasted(name, [at], maps) for name in self.ready.values},
                )
            return
        ready, size = self.ready, self.ready.tail_at_once
        found = []
        for start in range(0, len(chunk), size):
            rows = range(start, min(start + size, len(chunk)))
            feeds = {name: self._pasted(name, rows, maps) for name in ready.plan.last}
            got = ready.tail().run(self._with_others(ready.tail(), feeds, len(rows)))
            if ready.heavy_end is None:
                yield chunk[start : start + size], got
            else:
                found.append(got[ready.heavy_end])
        if ready.heavy_end is not None:
            feeds = {ready.heavy_end: np.concatenate(found)}
            yield chunk, ready.end().run(self._with_others(ready.end(), feeds, len(chunk)))

    def _with_others(self, session: Session, feeds: dict[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        """Feeds of a session behind the last cut: those given, and what it takes of the model's other inputs."""
        wanted = {v.name for v in session.model.inputs}
        rows = {name: np.repeat(array, count, 0) for name, array in self.others.items() if name in wanted}
        return {**feeds, **rows, **{name: array for name, array in self.shared.items() if name in wanted}}

    # --- the plain way ---

    def plainly(self, which: NDArray[np.int64], consume: Consume, progress: Callable[[int], None] | None) -> None:
        """The whole network for every window."""
        ready = self.ready

        def make(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            others = {name: np.repeat(array, len(numbers), 0) for name, array in self.others.items()}
            return {ready.source: self._copies(which[numbers]), **others}

        def done(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            consume(which[numbers], got)
            if progress is not None:
                progress(len(numbers))

        like = {ready.source: self.x, **self.others}
        run_generated(
            ready.model, len(which), make, done, ready.values, like, shared=self.shared, runtime=ready.runtime
        )

    def _copies(self, part: NDArray[np.int64]) -> NDArray[Any]:
        clean = self._view(self.x[0], self.axes)
        out = np.empty((len(part), *clean.shape), clean.dtype)
        boxes = np.ascontiguousarray(self.hidden.boxes[part])
        if self.hidden.segments is not None and self.hidden.ids is not None:
            ids = np.ascontiguousarray(self.hidden.ids[part])
            for at in range(len(part)):
                fill = self._view(self._filled(part[at]), self.axes)
                kernels.copies_of_segments(
                    out[at : at + 1], clean, fill, self.hidden.segments, ids[at : at + 1], boxes[at : at + 1]
                )
        elif self.fill is not None:
            kernels.copies(out, clean, self._view(self.fill, self.axes), boxes)
        else:
            for at, window in enumerate(part):
                kernels.copies(out[at : at + 1], clean, self._view(self._filled(window), self.axes), boxes[at : at + 1])
        return out.reshape(len(part), *self.x.shape[1:])

    def _filled(self, window: Any) -> NDArray[Any]:
        """One sample's tensor: what is seen inside a window."""
        if self.fill is not None:
            return self.fill
        assert callable(self.hidden.fill)
        return np.ascontiguousarray(self.hidden.fill(int(window)), self.x.dtype)

    # --- stage by stage ---

    def _staged(self, chunk: NDArray[np.int64]) -> dict[str, _Crops]:
        """For every value of the last cut: the changed crop of each window, and where it lies."""
        ready = self.ready
        planner = ready.planner
        assert planner is not None
        rows, columns = planner.windows.of(0)[chunk], planner.windows.of(1)[chunk]
        maps: dict[str, _Crops] = {}
        for number, stage in enumerate(ready.plan.stages):
            tall, wide = stage.rows.kinds[rows], stage.columns.kinds[columns]
            limits = ready.limits(number)
            found = {name: _Crops(len(chunk)) for name in stage.part.exit}
            for kind in np.unique(tall * stage.columns.count + wide):
                row, column = divmod(int(kind), stage.columns.count)
                members = np.flatnonzero((tall == row) & (wide == column))
                session = ready.graph(number, row, column)
                size = int(limits[row, column])
                for start in range(0, len(members), size):
                    part = members[start : start + size]
                    feeds = {
                        name: self._gathered(stage, name, row, column, chunk, part, rows, columns, maps)
                        for name in stage.part.entry
                    }
                    got = session.run(feeds)
                    for name in stage.part.exit:
                        top, left = stage.rows.given[name][rows[part]], stage.columns.given[name][columns[part]]
                        array = np.ascontiguousarray(got[name + CROP])
                        found[name].add(self._views(array, planner.known.axes[name]), part, top, left)
            maps = found
        return maps

    def _gathered(
        self,
        stage: Any,
        name: str,
        row: int,
        column: int,
        chunk: NDArray[np.int64],
        part: NDArray[np.int64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        maps: Mapping[str, _Crops],
    ) -> NDArray[Any]:
        """The crops (n, ...) of a value that a stage reads, with what has changed of it."""
        ready = self.ready
        assert ready.planner is not None
        axes = ready.planner.known.axes[name]
        clean = self._view(self.clean[name][0], axes)
        height, width = stage.rows.length[row][name], stage.columns.length[column][name]
        out = np.empty((len(part), clean.shape[0], height, width, clean.shape[3]), clean.dtype)
        at = np.stack([stage.rows.start[name][rows[part]], stage.columns.start[name][columns[part]]], 1)
        if name == ready.source:
            boxes = np.ascontiguousarray(self.hidden.boxes[chunk[part]])
            for place in range(len(part)) if self.fill is None or self.hidden.ids is not None else [slice(None)]:
                one = slice(place, place + 1) if isinstance(place, int) else place
                fill = self._view(self._filled(chunk[part[place]] if isinstance(place, int) else 0), axes)
                if self.hidden.segments is not None and self.hidden.ids is not None:
                    ids = np.ascontiguousarray(self.hidden.ids[chunk[part]][one])
                    kernels.crops_of_segments(out[one], clean, fill, self.hidden.segments, ids, at[one], boxes[one])
                else:
                    kernels.crops_occluded(out[one], clean, fill, at[one], boxes[one])
        else:
            maps[name].paste(out, clean, at, part)
        shape = list(self.clean[name].shape)
        shape[0], shape[axes[0]], shape[axes[1]] = len(part), height, width
        return out.reshape(shape)

    def _pasted(self, name: str, rows: Sequence[int] | range, maps: Mapping[str, _Crops]) -> NDArray[Any]:
        """Whole maps (n, ...) of a value, the changed crops pasted in."""
        assert self.ready.planner is not None
        axes = self.ready.planner.known.axes[name]
        clean = self._view(self.clean[name][0], axes)
        out = np.empty((len(rows), *clean.shape), clean.dtype)
        maps[name].paste(out, clean, np.zeros((len(rows), 2), np.int64), np.asarray(rows))
        return out.reshape(len(rows), *self.clean[name].shape[1:])

    def _views(self, batch: NDArray[Any], axes: tuple[int, int]) -> NDArray[Any]:
        """A batch as (n, A, H, W, K)."""
        shape = batch.shape
        sides = shape[axes[0]], shape[axes[1]]
        return batch.reshape(shape[0], math.prod(shape[1 : axes[0]]), *sides, math.prod(shape[axes[1] + 1 :]))

    def _view(self, sample: NDArray[Any], axes: tuple[int, int]) -> NDArray[Any]:
        """One sample as (A, H, W, K); `axes` count the batch."""
        shape = sample.shape
        before, after = math.prod(shape[: axes[0] - 1]), math.prod(shape[axes[1] :])
        return sample.reshape(before, shape[axes[0] - 1], shape[axes[1] - 1], after)


def incremental(
    model: Model,
    source: str,
    axes: tuple[int, int],
    values: Sequence[str],
    shape: Sequence[int],
    boxes: NDArray[np.int64],
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    runtime: RunOptions | None = None,
    plain: bool = False,
    cap: float | None = None,
    share: float = 1.0,
) -> Incremental:
    """Make `model` ready to compute `values` for copies of one image with `boxes` (P, 4) hidden.

    source: the image input; axes: of its rows and columns, in an array with a batch axis in front. shape: of one sample
    with a batch of 1; shapes: the same of the other inputs. plain: run the whole network for every window. cap: no more
    than this part of a map counts as changed, an approximation; None: exact. share: of the windows that will be looked
    at.

    Raises UnknownName for a value that does not exist.
    """
    runtime = runtime or RunOptions()
    alone = [v.name for v in model.outputs] == list(values)
    exposed = model if alone else expose(model, values, only=True)
    workers = runtime.threads or default_threads()
    ready = Incremental(exposed, source, axes, tuple(values), Plan((), (source,), False, 0, 0, ""), workers, runtime)
    reason = _why_plain(exposed, source, axes, runtime, plain)
    if reason is None:
        try:
            exposed = _with_sizes(make_dynamic(exposed), source, shape, shapes or {})
            known = locality(exposed, source, axes, _sizes(exposed, shape, source))
        except (ShapeError, ModelError) as error:
            reason = f"the whole network runs for every window: {error}"
        else:
            planner = Planner(exposed, known, Windows(boxes), cap, share)
            plan = planner.plan()
            end = planner.heavy_end(plan.last) if plan.stages and not plan.ends else None
            ready = replace(ready, model=exposed, planner=planner, plan=plan, heavy_end=end)
            ready = replace(ready, tail_at_once=planner.tail_at_once(plan.last))
    if reason is not None:
        ready = replace(ready, plan=replace(ready.plan, reason=reason))
    return ready


def _why_plain(model: Model, source: str, axes: tuple[int, int], runtime: RunOptions, plain: bool) -> str | None:
    """The reason to run the whole network for every window without looking for cuts, None if there is none."""
    if plain:
        return "asked for: the whole network runs for every window"
    value = model.value(source)
    if value.rank is None or axes[1] != axes[0] + 1 or value.rank <= axes[1] or axes[0] < 1:
        return "the input has no batch axis, or rows and columns are not side by side: the whole network runs"
    provider = resolve_providers(runtime.providers)[0]
    if provider != "CPUExecutionProvider":
        return f"{provider} runs whole batches: small crops do not fill it"
    return None


def _with_sizes(model: Model, source: str, shape: Sequence[int], shapes: Mapping[str, Sequence[int]]) -> Model:
    """The model for inputs of these sizes, the batch left open; sizes computed from sizes become constants."""
    if all(isinstance(d, int) for value in model.inputs for d in (value.shape or (None, None))[1:]):
        return model
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    for info in graph.input:
        sizes = shape if info.name == source else shapes.get(info.name)
        dims = info.type.tensor_type.shape.dim
        if sizes is None or len(dims) != len(sizes):
            continue
        for dim, size in list(zip(dims, sizes, strict=True))[1:]:
            dim.dim_value = int(size)
    for info in (*graph.output, *graph.value_info):
        info.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    made = model.with_graph(graph)

    proto = type(made.proto)()
    proto.CopyFrom(made.proto)
    return Model(fold_constants(proto), folder=model.folder, overrides=model.overrides)


def _sizes(model: Model, shape: Sequence[int], source: str) -> Any:
    """Shapes in numbers, for a batch of 2 where it is open: a size of 1 could be any axis."""
    first = (model.value(source).shape or (None,))[0]
    if isinstance(first, str):  # where nothing but the batch is open, nothing has to be computed
        found = {name: tuple(2 if d == first else d for d in v.shape or (None,)) for name, v in model.values.items()}
        if all(isinstance(d, int) for sizes in found.values() for d in sizes):
            return {name: () if model.values[name].shape == () else sizes for name, sizes in found.items()}
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    for info in graph.input:
        dims = info.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 2
    for info in (*graph.output, *graph.value_info):
        info.type.tensor_type.ClearField("shape")
    return concrete_shapes(model.with_graph(graph))
