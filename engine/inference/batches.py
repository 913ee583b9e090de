"""Running a model on any number of rows: in batches of bounded size, one by one where the model knows no batch.

Rows that lie ready are run by one session with all threads (`run_batches`). Rows that are made on the way, many forms
of one input, are made and run by several workers side by side that share one session of a single thread
(`run_generated`): as fast on a quiet machine and much faster on a busy one, for no operator waits for the slowest of
its threads, and the next rows are made meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.threads import available
from ..caches import of_model
from ..errors import ModelError, OutOfMemory, ShapeError
from ..graph.model import Model
from ..runtime.capabilities import capability
from ..runtime.feeds import check_fillable
from ..runtime.providers import Providers, asked_providers, resolve, resolve_providers
from .device_rows import Stage, forget_sessions, rows_asked, staged, where_rows_are_made
from .half_notices import notices
from .row_graphs import RowGraph
from .row_memory import rows_planned, rows_that_fit
from .session import session

# Elements of all row inputs of one batch: eight images of 3x224x224. Larger batches leave the caches and get slower.
_ELEMENTS = 8 * 3 * 224 * 224
_MOST = 64
# The same for a worker's run on one thread: four such images were the fastest batch of every network measured.
_ELEMENTS_MADE = 4 * 3 * 224 * 224
# And of a gradient's run, which keeps the maps of all layers until they are read again: one image.
ELEMENTS_PULLED = 3 * 224 * 224

# Operators that compute one number of all samples of a batch together: the range that integers stand for.
_OF_WHOLE_BATCH = frozenset(("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"))


# Models that declare a batch but fail on one: an exporter that baked its example's batch of one into a Reshape.
@of_model
def known_one_at_a_time(model: Model) -> threading.Event:
    """Set where the model is known to run one sample at a time only, or to give other answers to several."""
    known = threading.Event()
    if any(node.op_type in _OF_WHOLE_BATCH for node in model.untyped.graph.node):
        known.set()
    return known


@of_model
def known_most(model: Model) -> dict[Hashable, int]:
    """The most rows that run at once where more did not fit into memory, by providers and the shapes of the rows."""
    return {}


@of_model
def _known_for_host(model: Model) -> set[Hashable]:
    """Rows that a device could not make or run, by the graph that makes them, providers and shapes."""
    return set()


@dataclass(frozen=True)
class RunOptions:
    """Where and how models run: `providers` and `threads` as `session` takes them, `batch` the most rows at once.

    progress: methods that run for long call it with how many of how many runs are done; from any thread, never
    twice at once.
    on_notice: called with a line of text on what a user should know of the runs, such as fewer rows at once for lack of
    memory; from any thread, the same text any number of times.
    """

    providers: Providers = None
    threads: int | None = None
    batch: int | None = None
    progress: Callable[[int, int], None] | None = field(default=None, compare=False, repr=False)
    on_notice: Callable[[str], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.providers is not None and not isinstance(self.providers, str):
            object.__setattr__(self, "providers", asked_providers(self.providers))
        if self.batch is not None and self.batch < 1:
            raise ShapeError(f"a batch of {self.batch} rows is none: give at least 1")


def run_batches(
    model: Model,
    rows: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    *,
    shared: Mapping[str, np.ndarray] | None = None,
    runtime: RunOptions | None = None,
) -> dict[str, np.ndarray]:
    """Outputs (R, ...) of the model for `rows`, arrays (R, ...) by input name; `shared` inputs are the same for each.

    An input or output that the model declares without a batch axis is fed and read row by row. Where memory does not
    suffice, half as many rows run at once from then on, which `runtime.on_notice` is called with. Raises what
    `Session.run` raises; OutOfMemory only where a single row, or the batch that the model fixes, is too much.
    """
    return _joined(outputs, _in_batches(model, rows, outputs, shared, runtime or RunOptions()))


def _joined(outputs: Sequence[str], batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
    for done in batches:
        for name in outputs:
            parts[name].append(done[name])
    return {name: _stacked(name, found) for name, found in parts.items()}


def _stacked(name: str, parts: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of all parts. Raises ShapeError where their shapes differ."""
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = " and ".join(str(list(shape)) for shape in sorted({part.shape[1:] for part in parts})[:2])
        raise ShapeError(
            f"the value {name!r} has another shape for every input ({shapes}), as behind a choice that the model makes "
            "(non-maximum suppression, NonZero, TopK): explain a value before that choice, with output= or a target"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _in_batches(
    model: Model,
    rows: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    shared: Mapping[str, np.ndarray] | None,
    runtime: RunOptions,
    full: bool = False,
    most: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """As `run_batches`, batch by batch, in order.

    most: rows at once where nobody asks for a number with `runtime.batch`; by default what `batch_size` finds.
    full: fewer rows than a batch are the last of many: on devices they are filled up to a whole one.
    """
    count = len(next(iter(rows.values())))
    if not count:
        raise ShapeError("there is no sample to run the model on: give at least one")
    declared = {v.name: v for v in model.inputs}
    shared = {name: array for name, array in (shared or {}).items() if name in declared}
    rows = {name: array for name, array in rows.items() if name in declared}
    bare = {n for n, a in rows.items() if declared[n].rank is not None and declared[n].rank == a.ndim - 1}
    fixed = [s[0] for n in rows if n not in bare and (s := declared[n].shape) and isinstance(s[0], int)]
    runs = _Runs(model, outputs, shared, runtime, frozenset(bare), fixed[0] if fixed else None)
    asked = max(1, fixed[0]) if fixed else most or rows_at_once(model, rows, runtime, count)
    memory = _Memory(model, rows, runtime)
    if runtime.on_notice is not None:
        for text in notices(model, not _on_device(runtime)):
            runtime.on_notice(text)
    single = bool(bare) or known_one_at_a_time(model).is_set()
    if single and runtime.on_notice is not None and (runtime.batch or 1) > 1 and not fixed and count > 1:
        runtime.on_notice("the model answers one sample at a time: the option batch has no effect")
    # Elsewhere than on processors a run of another size is expensive (see `_on_device`): the last one is filled up.
    fill = not fixed and _on_device(runtime)
    at = 0
    while at < count:
        size = asked if fixed else memory.most(asked)
        step = 1 if single and not (fixed and not bare) else min(size, count - at)
        piece = {name: array[at : at + step] for name, array in rows.items()}
        together = size if fill and not single and (count > size or full) else step
        try:
            done = runs.run(piece, step, together)
        except OutOfMemory:
            if together == 1 or fixed:
                raise
            memory.exceeded(together)
            continue
        except (ModelError, ShapeError) as error:
            if together == 1 or fixed:
                raise
            single = True
            try:
                done = runs.run({name: array[:1] for name, array in piece.items()}, 1, 1)
            except (ModelError, ShapeError):
                raise error from None
            step = 1
            known_one_at_a_time(model).set()
        if size < asked and not single and (count > size or full):
            memory.tell(asked, size)
        yield done
        at += step


@dataclass(frozen=True, eq=False)
class GeneratedRows:
    """Rows that are made when their turn comes.

    make: the rows (R, ...) by input name for numbers (R,) out of 0 ... count - 1; called by several threads at once.
    like: rows of the same shape, to know how many fit into a run: of `elements` in all. graph: gives what
    makes the same rows on a device, where there is such a graph.
    """

    count: int
    make: Callable[[NDArray[np.int64]], Mapping[str, np.ndarray]]
    like: Mapping[str, np.ndarray]
    elements: int = _ELEMENTS_MADE
    graph: Callable[[], RowGraph] | None = None


def run_generated(
    model: Model,
    rows: GeneratedRows,
    consume: Callable[[NDArray[np.int64], dict[str, np.ndarray]], None],
    outputs: Sequence[str],
    *,
    shared: Mapping[str, np.ndarray] | None = None,
    runtime: RunOptions | None = None,
) -> None:
    """Run rows that are made when their turn comes.

    consume: gets numbers and outputs; never called twice at once, in any order. Which rows share a run does not depend
    on the threads. shared: as in `run_batches`.

    On processors, as many workers as `runtime.threads` share one session of a single thread; on other devices there is
    one worker, and `rows.graph` makes the rows where the provider has memory of its own. Raises what `Session.run`,
    `make` and `consume` raise, after all workers have stopped.
    """
    runtime = runtime or RunOptions()

    def fetched(numbers: NDArray[np.int64], got: dict[str, Any]) -> None:
        consume(numbers, {name: value.numpy()[: len(numbers)] for name, value in got.items()})

    if run_on_device(model, rows, fetched, outputs, shared=shared, runtime=runtime):
        return
    count, workers, size = rows.count, 1, rows_at_once(model, rows.like, runtime, rows.count)
    if not _on_device(runtime):
        workers = runtime.threads or available()
        size = runtime.batch or batch_size(rows.like, runtime, rows.elements)
    workers = min(workers, -(-count // size))
    if workers > 1:
        runtime = replace(runtime, threads=1)
    starts = list(range(0, count, size))[::-1]
    stopped, turn = threading.Event(), threading.Lock()

    def work() -> None:
        while not stopped.is_set():
            try:
                start = starts.pop()  # atomic
            except IndexError:
                return
            numbers = np.arange(start, min(start + size, count))
            made = rows.make(numbers)
            # Rows at once are counted by `like` alone: what is made may hold more inputs.
            got = _joined(outputs, _in_batches(model, made, outputs, shared, runtime, full=count > size, most=size))
            with turn:
                consume(numbers, got)

    if workers <= 1:
        work()
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="onnxray-rows") as pool:
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
    for future in futures:
        future.result()


def values_stay(runtime: RunOptions) -> bool:
    """Whether values of a run may stay where the model ran: the provider has memory of its own."""
    return capability(resolve_providers(runtime.providers)[0]).own_memory


def run_on_device(
    model: Model,
    rows: GeneratedRows,
    take: Callable[[NDArray[np.int64], dict[str, Any]], None],
    outputs: Sequence[str],
    *,
    shared: Mapping[str, np.ndarray] | None = None,
    runtime: RunOptions,
) -> bool:
    """Run rows that `rows.graph` makes on the device; False, with nothing taken, where they are made on the host.

    take: gets numbers (R',), in order, and outputs by name as OrtValues on the device; these may have more rows, which
    the last run is filled up with. Where it raises OutOfMemory, ModelError or ShapeError it has taken nothing of them,
    and gets them again in smaller numbers. The numbers of the next run are worked out meanwhile.

    A device that fails with the first rows leaves them to the host, which `runtime.on_notice` is called with, and is
    not asked again. Raises what `Session.run` raises of later rows that fail one by one as well.
    """
    can = capability(resolve_providers(runtime.providers)[0])
    if rows.graph is None or not rows.count or not can.own_memory:
        return False  # for these no graph is written
    graph, one_at_a_time, single = rows.graph(), known_one_at_a_time(model), False
    asked, memory, at = rows_at_once(model, rows.like, runtime, rows.count), _Memory(model, rows.like, runtime), 0
    failed, key = _known_for_host(model), (graph.model.content_key, memory.key)
    found = rows_asked(model, graph, one_at_a_time.is_set(), runtime.providers)
    if key in failed or not where_rows_are_made(can, found).on_device:
        return False
    stage: Stage | None = None

    def ready(start: int) -> tuple[NDArray[np.int64], Mapping[str, np.ndarray]]:
        size = 1 if single else min(memory.most(asked), rows.count)
        numbers = np.minimum(np.arange(start, start + size), rows.count - 1)
        return numbers, graph.each(numbers)

    with ThreadPoolExecutor(1, thread_name_prefix="onnxray-rows") as pool:
        numbers, each = ready(0)
        while at < rows.count:
            size = len(numbers)
            following = pool.submit(ready, at + size) if at + size < rows.count else None
            try:
                stage = stage or staged(model, graph, shared or {}, runtime)
                # Outputs have no name here: one would keep them in the device's memory during the next run.
                take(numbers[: rows.count - at], stage.run(numbers, each, outputs))
            except (ModelError, ShapeError) as error:
                if stage is None or size == 1 or not (at or isinstance(error, OutOfMemory)):
                    if at:
                        raise
                    failed.add(key)
                    _tell_host(runtime, error)
                    return False  # the host finds out what the model does not take
                if isinstance(error, OutOfMemory):
                    memory.exceeded(size)
                    stage = None  # its session holds the memory of its largest run
                else:
                    single = True
                numbers, each = ready(at)
                continue
            if single:
                one_at_a_time.set()
            elif size < asked and rows.count > size:
                memory.tell(asked, size)
            at += size
            if following is not None:
                numbers, each = following.result()
    return True


def _tell_host(runtime: RunOptions, error: Exception) -> None:
    if runtime.on_notice is not None:
        where = resolve_providers(runtime.providers)[0].removesuffix("ExecutionProvider")
        runtime.on_notice(f"the host makes the inputs for {where}, which takes longer: {error}")


def in_order(
    consume: Callable[[NDArray[np.int64], dict[str, np.ndarray]], None],
) -> Callable[[NDArray[np.int64], dict[str, np.ndarray]], None]:
    """For `run_generated`: consumes the runs in the order of their numbers, so that sums are the same every time."""
    waiting: dict[int, tuple[NDArray[np.int64], dict[str, np.ndarray]]] = {}
    due = 0

    def take(numbers: NDArray[np.int64], got: dict[str, np.ndarray]) -> None:
        nonlocal due
        waiting[int(numbers[0])] = (numbers, got)
        while due in waiting:
            numbers, got = waiting.pop(due)
            consume(numbers, got)
            due += len(numbers)

    return take


def _on_device(runtime: RunOptions) -> bool:
    """Whether models run elsewhere than on processors.

    There cuDNN plans every convolution anew when the batch size is another one than in the run before: up to seconds,
    where the run itself takes milliseconds.
    """
    return resolve_providers(runtime.providers) != ("CPUExecutionProvider",)


def batch_size(rows: Mapping[str, np.ndarray], runtime: RunOptions, elements: int = _ELEMENTS) -> int:
    """How many rows go into one run."""
    if runtime.batch is not None:
        return runtime.batch
    each = max((int(np.prod(a.shape[1:])) for a in rows.values()), default=0)
    return int(min(_MOST, max(1, elements // max(1, each))))


def rows_at_once(model: Model, rows: Mapping[str, np.ndarray], runtime: RunOptions, count: int) -> int:
    """How many of `count` rows go into one run: as many as `batch_size` finds, on a device by its free memory."""
    usual, first = batch_size(rows, runtime), resolve(runtime.providers)[0]
    if runtime.batch is not None or not capability(first.name).own_memory:
        return usual
    return rows_planned(usual, count, rows_that_fit(model, first))


class _Memory:
    """How many rows of these shapes fit into the memory of where they run, as far as runs that failed have shown."""

    def __init__(self, model: Model, rows: Mapping[str, np.ndarray], runtime: RunOptions) -> None:
        shapes = tuple(sorted((name, array.shape[1:]) for name, array in rows.items()))
        self._known, self._runtime, self.key = known_most(model), runtime, (runtime.providers, shapes)

    def most(self, asked: int) -> int:
        """How many run at once where `asked` are wanted."""
        return min(asked, self._known.get(self.key, asked))

    def exceeded(self, rows: int) -> None:
        """So many rows did not fit: half as many from now on.

        The sessions that are kept go: each holds the memory that its largest run took, the one that failed as well.
        """
        self._known[self.key] = self.most(rows // 2)
        forget_sessions()

    def tell(self, asked: int, size: int) -> None:
        if self._runtime.on_notice is not None:
            where = resolve_providers(self._runtime.providers)[0].removesuffix("ExecutionProvider")
            self._runtime.on_notice(
                f"memory: {asked} inputs at once do not fit on {where}, {size} run at once instead and take longer; "
                f"batch={size} asks for no more"
            )


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs of one model. bare: inputs without a batch axis; fixed: the batch size that the model insists on."""

    model: Model
    outputs: Sequence[str]
    shared: Mapping[str, Any]
    runtime: RunOptions
    bare: frozenset[str]
    fixed: int | None

    def run(self, piece: Mapping[str, np.ndarray], step: int, together: int) -> dict[str, np.ndarray]:
        """The outputs for `step` rows, filled up to `together`, or to the batch size that the model insists on."""
        rows = max(together, self.fixed or 0)
        for_size = rows if _on_device(self.runtime) else None
        ready = session(self.model, providers=self.runtime.providers, threads=self.runtime.threads, rows=for_size)
        feeds = {name: array[0] if name in self.bare else array for name, array in piece.items()}
        if step < rows:
            check_fillable([a for name, a in feeds.items() if name not in self.bare], rows)
            feeds = {
                name: a if name in self.bare else np.concatenate([a, np.repeat(a[-1:], rows - step, 0)])
                for name, a in feeds.items()
            }
        result = {}
        for name, array in ready.run({**feeds, **self.shared}, self.outputs).items():
            if array.ndim and array.shape[0] == rows:
                result[name] = array[:step]
            elif rows == 1:
                result[name] = array[None]
            else:
                raise ShapeError(f"the value {name!r} of shape {list(array.shape)} has no batch axis of {rows}")
        return result
