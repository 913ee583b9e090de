"""Rows that are made where the network runs, and what comes out of it kept there.

One place decides whether that is done (`where_rows_are_made`): on a provider that has memory of its own, where a copy
costs more than making a row anew. On processors the fused kernels of `kernels/` make rows faster than nodes would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caches import Kept
from ..errors import OutOfMemory, ShapeError
from ..graph.model import Model
from ..proto.values import from_info
from ..runtime.capabilities import Capability
from ..runtime.providers import Providers, resolve
from .row_graphs import ROWS, Numbers, RowGraph, sums
from .session import Session, devices_in_use, session, sessions

# Types that every node of the graphs computes with on a device.
_TYPES = ("float32", "float16", "uint8")
# Bytes that are copied to a device once and stay there for all runs.
_MOST_UPLOADED = 1 << 28


@dataclass(frozen=True)
class RowsAsked:
    """What the planner looks at.

    dtype: of the rows; fed: of the network's input. any_batch: whether the network takes any number of rows at once;
    captured: whether its runs are replayed as a CUDA graph, from where its values lay; readable: whether NumPy has the
    types of its outputs; uploaded: bytes that are copied to the device once.
    """

    dtype: str = "float32"
    fed: str = "float32"
    any_batch: bool = True
    captured: bool = False
    readable: bool = True
    uploaded: int = 0


@dataclass(frozen=True)
class Decision:
    """Whether rows are made on the device, and why."""

    on_device: bool
    reason: str


def where_rows_are_made(can: Capability, asked: RowsAsked) -> Decision:
    """Where rows are made, by what the provider can do."""
    if not can.own_memory:
        return Decision(False, "the provider reads the host's memory: kernels make rows faster than nodes")
    if asked.dtype not in _TYPES or asked.dtype != asked.fed:
        return Decision(False, f"rows of {asked.dtype} for an input of {asked.fed} are made by the host")
    if not asked.any_batch:
        return Decision(False, "the model fixes its batch size: the host cuts rows to it")
    if not asked.readable:
        return Decision(False, "NumPy does not have the type of an output: only the host reads it")
    if asked.captured:
        return Decision(False, "a CUDA graph reads its values from where they lay in its first run")
    if asked.uploaded > _MOST_UPLOADED:
        return Decision(False, f"at most {_MOST_UPLOADED >> 20} MiB are copied at once: the host makes rows of more")
    return Decision(True, f"nodes make rows in the memory of {can.memory}: only small numbers are copied")


def rows_asked(model: Model, graph: RowGraph, one_at_a_time: bool, providers: Providers) -> RowsAsked:
    """What the planner looks at, of rows of `model`."""
    declared = next(v for v in model.inputs if v.name == graph.feeds)
    rows = declared.shape is None or (bool(declared.shape) and not isinstance(declared.shape[0], int))
    fed = graph.dtype if declared.dtype is None else declared.dtype
    captured = dict(resolve(providers)[0].options).get("enable_cuda_graph", "0") not in ("0", "False", "false")
    outputs = map(from_info, model.untyped.graph.output)
    readable = all(v.dtype is None or v.dtype.kind in "fiub" for v in outputs)
    uploaded = sum(array.nbytes for array in graph.constants.values())
    return RowsAsked(graph.dtype.name, fed.name, rows and not one_at_a_time, captured, readable, uploaded)


# Of graphs of a few nodes; apart from the networks' sessions, which they would push out.
small_sessions = Kept[tuple[Any, ...], Session](16, times=devices_in_use)


def small_session(model: Model, providers: Providers) -> Session:
    """A session of a small graph; the last few are kept."""
    key = model.content_key, resolve(providers)
    return small_sessions.get(key, lambda: Session(model, providers=providers, threads=1))


def forget_sessions() -> None:
    """Give back the memory that kept sessions hold, also those of small graphs."""
    sessions.clear()
    small_sessions.clear()


class Stage:
    """Making rows and running a network on them, with nothing but small numbers copied to the device."""

    def __init__(self, model: Model, graph: RowGraph, shared: Mapping[str, Any], runtime: Any) -> None:
        """Raises OutOfMemory where the device does not hold what is copied once."""
        self._model, self._graph, self._runtime = model, graph, runtime
        self._maker = small_session(graph.model, runtime.providers)
        self._constants = {name: self._maker.upload(array) for name, array in graph.constants.items()}
        declared = {v.name for v in model.inputs}
        given = {n: np.asarray(a) for n, a in shared.items() if n in declared}
        # Texts do not lie in a device's memory.
        self._shared = {n: self._maker.upload(a) if a.dtype.kind in "fiub" else a for n, a in given.items()}
        self._declared = declared

    def run(self, numbers: Numbers, each: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, Any]:
        """Outputs (B, ...) by name, as OrtValues on the device, of the rows of `numbers` (B,).

        each: what `RowGraph.each` gives for them. Raises what `Session.run` raises, ShapeError for an output without a
        batch axis.
        """
        runtime, count = self._runtime, len(numbers)
        network = session(self._model, providers=runtime.providers, threads=runtime.threads, rows=count)
        made = self._maker.run_on_device({**self._constants, **each}, [ROWS])
        others = {n: a for n, a in self._graph.others(numbers).items() if n in self._declared}
        feeds = {self._graph.feeds: made[ROWS], **others, **self._shared}
        got = network.run_on_device(feeds, outputs)
        for name, value in got.items():
            if not value.is_tensor() or not value.shape() or value.shape()[0] != count:
                raise ShapeError(f"the value {name!r} has no batch axis of {count}")
        return got


def staged(model: Model, graph: RowGraph, shared: Mapping[str, Any], runtime: Any) -> Stage:
    """A stage; where memory does not suffice, once more without the sessions that are kept. Raises OutOfMemory."""
    try:
        return Stage(model, graph, shared, runtime)
    except OutOfMemory:
        forget_sessions()
        return Stage(model, graph, shared, runtime)


class DeviceSums:
    """For every of R rows the weighted sum of values, and with `squares` that of their squares, kept on the device.

    float64, as on the host. A row's sum reads that row's values alone: what is not finite stays in its own row.
    """

    def __init__(self, rows: int, squares: bool, providers: Providers) -> None:
        self._squares, self._providers = squares, providers
        self._names = ("first", "second")[: 1 + squares]
        self._so_far: list[dict[str, Any]] = [{} for _ in range(rows)]
        self._shape: tuple[int, ...] = ()

    def add(self, values: Any, rows: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """values: an OrtValue (B, ...), of which the first len(rows) count; rows, weights (B',).

        Where it raises, as `Session.run` and `Session.upload` do, the sums are those of before.
        """
        self._shape = tuple(values.shape()[1:])
        adder = small_session(sums(self._squares), self._providers)
        found = {}
        for row in np.unique(rows):
            index = np.flatnonzero(rows == row)
            so_far = self._so_far[row]
            if not so_far:
                nothing = np.zeros((1, int(np.prod(self._shape))))
                so_far = {name: adder.upload(nothing) for name in self._names}
            got = adder.run_on_device({"values": values, "index": index, "weights": weights[None, index], **so_far})
            found[row] = {name: got[f"{name}_so_far"] for name in self._names}
        for row, so_far in found.items():
            self._so_far[row] = so_far

    def fetch(self) -> list[NDArray[np.float64]]:
        """The sums (R, ...), then those of the squares."""
        found = []
        for name in self._names:
            rows = [one[name].numpy().reshape(self._shape) for one in self._so_far]
            found.append(np.stack(rows))
        return found
