"""Several targets of one text by one forward pass: what it computed is kept, and each target is pulled back from there.

    inputs -> forward -> kept values -> backward <- the cotangent of one target

The kept values are there once, whatever the number of targets, and one target at a time goes backwards: memory grows
with the text, not with the tokens that a language model says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.threads import available
from ..caches import Kept
from ..errors import ModelError, OutOfMemory
from ..graph.dependencies import behind, outputs_of
from ..graph.model import Model
from ..graph.split import extract, value_infos
from ..inference.batches import ELEMENTS_PULLED, RunOptions, batch_size, known_one_at_a_time
from ..inference.session import session
from ..proto.nodes import reads
from ..runtime.providers import resolve_providers
from .gradient_graphs import GradientGraph


@dataclass(frozen=True)
class Halves:
    """A gradient's graph in two: `forward` computes the values `kept`, of which `backward` makes gradients."""

    forward: Model
    backward: Model
    kept: tuple[str, ...]


_halves = Kept[Hashable, Halves](4)


def halves(graph: GradientGraph) -> Halves:
    """The graph cut where what depends on the cotangent begins; what depends on no input is in both halves."""
    return _halves.get(graph.model.content_key, lambda: _cut(graph))


def _cut(graph: GradientGraph) -> Halves:
    model = graph.model
    inputs = [v.name for v in model.inputs if v.name != graph.cotangent]
    changing = outputs_of(behind(model, inputs)) | set(inputs)
    back = behind(model, [graph.cotangent])
    of_back = outputs_of(back) | {graph.cotangent}
    read = dict.fromkeys(name for node in back for name in reads(node))
    kept = [name for name in read if name in changing and name not in of_back]
    infos = {v.name: v for v in value_infos(model, list(dict.fromkeys([*kept, graph.cotangent])))}
    gradients = [v for v in model.untyped.graph.output if v.name in of_back]
    values = [v for v in model.untyped.graph.output if v.name not in of_back]
    outputs = [*values, *(infos[name] for name in kept if name not in {v.name for v in values})]
    forward = extract(model, outputs=[v for v in outputs if v.name not in inputs])
    backward = extract(model, outputs=gradients, inputs=[infos[name] for name in (*kept, graph.cotangent)])
    return Halves(forward, backward, tuple(kept))


@dataclass(frozen=True)
class OneForward:
    """Gradients for several targets of one sample. cotangents: (K, ...), one for each."""

    graph: GradientGraph
    shared: Mapping[str, NDArray[Any]]
    cotangents: NDArray[Any]
    runtime: RunOptions

    def pull(
        self, feeds: Mapping[str, NDArray[Any]], values: Sequence[str] = ()
    ) -> tuple[dict[str, NDArray[Any]], Iterator[dict[str, NDArray[Any]]]]:
        """For inputs (B, ...): values of the model (B, ...), and target by target the gradients (B, ...)."""
        cut, options = halves(self.graph), self.runtime
        given = {**self.shared, **feeds}
        ready = session(cut.forward, providers=options.providers, threads=options.threads)
        wanted = [name for name in dict.fromkeys([*cut.kept, *values]) if name in ready.outputs]
        found = ready.run_on_device({n: a for n, a in given.items() if n in ready.inputs}, wanted)
        return {n: np.asarray(found[n].numpy()) for n in values}, self._backward(cut, given, found, len_of(feeds))

    def _backward(
        self, cut: Halves, given: Mapping[str, NDArray[Any]], found: Mapping[str, Any], count: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        options = self.runtime
        ready = session(cut.backward, providers=options.providers, threads=options.threads)
        kept = {name: found[name] if name in found else given[name] for name in cut.kept}
        outputs = list(self.graph.gradients.values())
        for cotangent in self.cotangents:
            seed = np.repeat(cotangent[None], count, 0)
            got = ready.run_on_device({**kept, self.graph.cotangent: seed}, outputs)
            yield {name: np.asarray(got[out].numpy(), np.float32) for name, out in self.graph.gradients.items()}

    def generated(
        self,
        count: int,
        make: Callable[[NDArray[np.int64]], Mapping[str, NDArray[Any]]],
        consume: Callable[[NDArray[np.int64], int, dict[str, NDArray[Any]]], None],
    ) -> None:
        """Gradients at `count` inputs that are made on the way.

        make: feeds (B, ...) for numbers (B,); called by several threads at once. consume: gets numbers, the target and
        gradients (B, ...), one call at a time, for each target in the order of the numbers.
        """
        like = make(np.zeros(1, np.int64))
        single = known_one_at_a_time(self.graph.model)
        size = 1 if single.is_set() else min(count, batch_size(like, self.runtime, ELEMENTS_PULLED))
        if size > 1 and not self._takes(make, size):
            single.set()
            size = 1
        starts = range(0, count, size)
        workers = min(self._workers, len(starts))
        of_worker = replace(self, runtime=replace(self.runtime, threads=1)) if workers > 1 else self

        def begun(start: int) -> tuple[NDArray[np.int64], Iterator[dict[str, NDArray[Any]]]]:
            numbers = np.arange(start, min(start + size, count))
            return numbers, of_worker.pull(make(numbers))[1]

        def consumed(pool: ThreadPoolExecutor, first: int) -> None:
            # Target by target: of each worker one target's gradients are in memory, whatever the number of targets.
            works = list(pool.map(begun, starts[first : first + workers]))
            for target in range(len(self.cotangents)):
                for (numbers, _), found in zip(works, pool.map(next, [found for _, found in works]), strict=True):
                    consume(numbers, target, found)

        with ThreadPoolExecutor(workers, thread_name_prefix="onnxray-rows") as pool:
            for first in range(0, len(starts), workers):
                consumed(pool, first)

    @property
    def _workers(self) -> int:
        on_processors = resolve_providers(self.runtime.providers) == ("CPUExecutionProvider",)
        return (self.runtime.threads or available()) if on_processors else 1

    def _takes(self, make: Callable[[NDArray[np.int64]], Mapping[str, NDArray[Any]]], size: int) -> bool:
        """Whether the model runs on so many inputs at once."""
        try:
            next(self.pull(make(np.zeros(size, np.int64)))[1])
        except (ModelError, OutOfMemory):
            return False
        return True


def len_of(feeds: Mapping[str, NDArray[Any]]) -> int:
    """How many inputs are fed."""
    return len(next(iter(feeds.values())))
