"""Exact incremental inference: what a model says to many copies of one image, each with another part of it hidden.

A copy differs from the image only inside its window, and every map only inside the window's receptive field. The model
is cut into stages (`plan.py`); the maps of the untouched image at the cuts are computed once; for a batch of windows
only the crops that change run through the early stages (`crop_geometry.py`), are pasted into those maps by a kernel
(`kernels/occlusion.py`), and the rest of the network runs on whole maps. The values are those of the whole network, but
for the rounding of kernels that ONNX Runtime chooses by size.

Nakandala, Kumar and Papakonstantinou, "Incremental and approximate inference for faster occlusion-based deep CNN
explanations", SIGMOD 2019.

    runner_for -> make_runner -> PlainRunner    the whole network for every window
                              -> StagedRunner   stage by stage, by the plan (`staged.py`)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...kernels.threads import available as default_threads
from ..caches import Kept
from ..errors import ModelError, ShapeError
from ..graph.dynamic_batch.make_dynamic import make_dynamic
from ..graph.model import Model
from ..graph.split import expose
from ..inference.batches import GeneratedRows, RunOptions, known_one_at_a_time, run_generated
from ..inference.row_graphs import RowGraph
from ..runtime.providers import resolve_providers
from .crops import HiddenSample
from .fixed_sizes import sizes_in_numbers, with_fixed_sizes
from .locality import locality
from .network import Network
from .plan import Plan, search, whole
from .staged import Consume, StagedRunner
from .windows import Hidden, Windows


@dataclass(frozen=True)
class HiddenInput:
    """The input in which windows are hidden.

    axes: of its rows and columns, in an array with a batch axis in front. shape: of one sample with a batch of 1;
    others: the names and shapes of the model's other inputs.
    """

    name: str
    axes: tuple[int, int]
    shape: tuple[int, ...]
    others: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Runner(Protocol):
    """A model prepared for many windows of one image size. plan: the stages and the reason for them."""

    @property
    def plan(self) -> Plan: ...

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
        that have a row for every sample, (1, ...); shared: inputs that are the same for all. progress: called with the
        number of windows done, after every batch.

        Raises what running the model raises; an interruption stops all workers before it is passed on.
        """
        ...


@dataclass(frozen=True, eq=False)
class PlainRunner:
    """The whole network for every window. values: those asked for."""

    model: Model
    source: HiddenInput
    values: tuple[str, ...]
    plan: Plan
    runtime: RunOptions

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
        windows = np.arange(len(hidden.boxes)) if which is None else which
        sample, by_sample = HiddenSample(x, self.source.axes, hidden), dict(others or {})

        def make(numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            repeated = {name: np.repeat(array, len(numbers), 0) for name, array in by_sample.items()}
            return {self.source.name: sample.copies(windows[numbers]), **repeated}

        def done(numbers: NDArray[np.int64], got: dict[str, NDArray[Any]]) -> None:
            consume(windows[numbers], got)
            if progress is not None:
                progress(len(numbers))

        def there() -> RowGraph:
            graph = sample.graph(windows)
            others = {name: array[0] for name, array in by_sample.items()}
            return replace(graph, feeds=self.source.name, others=functools.partial(_repeated, others))

        graph = None if callable(hidden.fill) else there
        rows = GeneratedRows(len(windows), make, {self.source.name: sample.x, **by_sample}, graph=graph)
        run_generated(self.model, rows, done, self.values, shared=shared, runtime=self.runtime)


def _repeated(arrays: Mapping[str, NDArray[Any]], numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: np.repeat(array[None], len(numbers), 0) for name, array in arrays.items()}


def make_runner(
    model: Model,
    source: HiddenInput,
    values: Sequence[str],
    windows: Windows,
    runtime: RunOptions | None = None,
    *,
    plain: bool = False,
    cap: float | None = None,
) -> Runner:
    """Make `model` ready to compute `values` for copies of one image with windows hidden in the input `source`.

    plain: run the whole network for every window. cap: no more than this part of a map counts as changed, an
    approximation; None: exact.

    Raises UnknownName for a value that does not exist.
    """
    runtime = runtime or RunOptions()
    alone = [v.name for v in model.outputs] == list(values)
    exposed = model if alone else expose(model, values, only=True)
    reason = _why_plain(exposed, source, runtime, plain)
    if reason is None:
        try:
            sized = with_fixed_sizes(make_dynamic(exposed), source.name, source.shape, dict(source.others))
            sizes = sizes_in_numbers(sized, source.shape, source.name)
            network = Network(sized, locality(sized, source.name, source.axes, sizes))
        except (ShapeError, ModelError) as error:
            reason = f"the whole network runs for every window: {error}"
        else:
            plan = search(network, windows, cap)
            if not plan.stages:
                return PlainRunner(sized, source, tuple(values), plan, runtime)
            return StagedRunner(network, windows, tuple(values), plan, runtime.threads or default_threads())
    return PlainRunner(exposed, source, tuple(values), whole(source.name, reason), runtime)


def _why_plain(model: Model, source: HiddenInput, runtime: RunOptions, plain: bool) -> str | None:
    """The reason to run the whole network for every window without looking for cuts, None if there is none."""
    if plain:
        return "asked for: the whole network runs for every window"
    if known_one_at_a_time(model).is_set():
        return "the model answers one sample at a time: the whole network runs for every window"
    rank, axes = model.value(source.name).rank, source.axes
    if rank is None or axes[1] != axes[0] + 1 or rank <= axes[1] or axes[0] < 1:
        return "the input has no batch axis, or rows and columns are not side by side: the whole network runs"
    provider = resolve_providers(runtime.providers)[0]
    if provider != "CPUExecutionProvider":
        return f"{provider} runs whole batches: small crops do not fill it"
    return None


# For the next image of the same size. Those with stages hold sessions: fewer of them are kept.
runners = Kept[Hashable, Runner](8, heavy=lambda runner: bool(runner.plan.stages), most_heavy=2)


def runner_for(
    model: Model,
    source: HiddenInput,
    values: Sequence[str],
    windows: Windows,
    runtime: RunOptions,
    *,
    plain: bool = False,
    cap: float | None = None,
) -> Runner:
    """As `make_runner`; kept for the next call with the same arguments, but for the functions in `runtime`."""
    silent = replace(runtime, progress=None, on_notice=None)
    how = (windows.boxes.tobytes(), windows.share, plain, cap, runtime.providers, runtime.threads, runtime.batch)
    key = (model.content_key, source, tuple(values), *how)
    found = runners.get(key, lambda: make_runner(model, source, values, windows, silent, plain=plain, cap=cap))
    return replace(found, runtime=runtime) if isinstance(found, PlainRunner) else found
