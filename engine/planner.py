"""Where to cut a network for occlusion: the stages that run on crops, and what they are expected to cost.

A cut is a set of values, each with rows and columns, that everything behind it is computed from. A plan is a chain of
cuts from the image on; between two cuts only crops are computed (`stages.py`), behind the last one whole maps. The
cheapest chain is found by dynamic programming over the cuts with a cost in seconds for every section: the
multiply-accumulates of its crops, snapped to the shapes that will really run, at the rate of their kind of operator,
plus the memory that is moved and a fixed time for every node and run. Counting operations alone splits too often.

The rates are fixed numbers: the same model and windows give the same plan on every machine, and the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from .cost import macs
from .graph import Model
from .nodes import plain_domain, reads
from .regions import Locality, Spans, changed
from .stages import Along, Section, Unfit, along, section

# What one processor core does, measured with ONNX Runtime 1.31 on a core with AVX-512.
DENSE_RATE = 80e9  # multiply-accumulates per second of convolutions over many channels, and of products of matrices
DEPTHWISE_RATE = 9e9  # of convolutions over one channel each
MEMORY_RATE = 8e9  # bytes per second of everything else: read, changed, written
NODE_TIME = 2e-6  # seconds for every node of every run
RUN_TIME = 30e-6  # seconds for every run of a session
PASTE_RATE = 4e9  # bytes per second of crops gathered, fed, reordered, copied out

MOST_CUTS = 24
MOST_LIVE = 3
# Elements of the largest value of one run: a batch of crops that stays in the cache of a core.
RUN_ELEMENTS = 1 << 19
MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Windows:
    """Boxes (P, 4): y0, x0, y1, x1 in pixels; as pairs of intervals of rows and columns, each listed once."""

    boxes: NDArray[np.int64]

    @cached_property
    def _rows(self) -> tuple[Spans, NDArray[np.int64]]:
        return _listed(self.boxes[:, [0, 2]])

    @cached_property
    def _columns(self) -> tuple[Spans, NDArray[np.int64]]:
        return _listed(self.boxes[:, [1, 3]])

    def spans(self, axis: int) -> Spans:
        """The different intervals of rows (axis 0) or columns (1), (n, 2)."""
        return (self._columns if axis else self._rows)[0]

    def of(self, axis: int) -> NDArray[np.int64]:
        """Which of them each window has, (P,)."""
        return (self._columns if axis else self._rows)[1]


def _listed(spans: Spans) -> tuple[Spans, NDArray[np.int64]]:
    found, which = np.unique(spans, axis=0, return_inverse=True)
    return np.asarray(found, np.int64), np.asarray(which, np.int64).reshape(-1)


@dataclass(frozen=True)
class Stage:
    """A section between two cuts and its geometries along rows and columns."""

    part: Section
    rows: Along
    columns: Along
    seconds: float
    graphs: int


@dataclass(frozen=True)
class Plan:
    """stages: to be run on crops, in order. last: the values behind them, of which whole maps are made. ends: the
    values asked for are `last` themselves. seconds: expected for all windows on one core; plain: without stages.
    reason: why it is so.
    """

    stages: tuple[Stage, ...]
    last: tuple[str, ...]
    ends: bool
    seconds: float
    plain: float
    reason: str
    bound: float = 1.0


@dataclass
class Planner:
    """Finds the plan for a model that computes nothing but what is asked for.

    known: what is local in it. windows: those that will be hidden.
    """

    model: Model
    known: Locality
    windows: Windows
    _changed: list[dict[str, Spans]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = [changed(self.model, self.known, self.windows.spans(axis), axis) for axis in (0, 1)]
        self._each = {node.output[0]: self._node_cost(node) for node in self.model.graph.node if node.output}

    def plan(self) -> Plan:
        """The cheapest chain of cuts."""
        count = len(self.windows.boxes)
        cuts = self.cuts()
        plain = count * self._whole_time(self._behind((self.known.source,)))
        if len(cuts) == 1:
            return Plan((), cuts[0], False, plain, plain, "nothing of the network is local: it is run whole")
        ending = cuts[-1] == self._outputs
        best: list[float] = [0.0]
        chosen: list[tuple[int, Stage] | None] = [None]
        for j in range(1, len(cuts)):
            least, found = math.inf, None
            for i in range(j):
                if best[i] == math.inf:
                    continue
                stage = self.stage(cuts[i], cuts[j])
                if stage is not None and best[i] + stage.seconds < least:
                    least, found = best[i] + stage.seconds, (i, stage)
            best.append(least)
            chosen.append(found)
        totals = []
        for i, cut in enumerate(cuts):
            ends = ending and i == len(cuts) - 1
            rest = self._paste_time(cut) + (0.0 if ends else self._whole_time(self._behind(cut)))
            totals.append(best[i] + count * rest)
        totals[0] = plain
        at = int(np.argmin(totals))
        if at == 0:
            return Plan((), cuts[0], False, plain, plain, "no cut pays: what changes is nearly the whole of every map")
        stages: list[Stage] = []
        i = at
        while (step := chosen[i]) is not None:
            i, stage = step
            stages.append(stage)
        ends = ending and at == len(cuts) - 1
        names = [", ".join(stage.part.exit) for stage in stages[::-1]]
        reason = f"{len(stages)} stages on crops, cut at {'; '.join(names)}"
        return Plan(tuple(stages[::-1]), cuts[at], ends, totals[at], plain, reason)

    # --- cuts ---

    @cached_property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.model.graph.output)

    def cuts(self) -> list[tuple[str, ...]]:
        """Sets of values that separate the image from the outputs, in graph order, the image itself first."""
        nodes = [n for n in self.model.graph.node if set(n.output) & self.known.reached]
        last = {name: at for at, node in enumerate(nodes) for name in reads(node)}
        last.update((name, len(nodes)) for name in self._outputs)
        live = [self.known.source]
        found: list[tuple[str, ...]] = [(self.known.source,)]
        done, weight = 0.0, [0.0]
        for at, node in enumerate(nodes):
            live += [name for name in node.output if name in last]
            live = [name for name in live if last[name] > at]
            done += self._each[node.output[0]][0]
            if any(name not in self.known.axes for name in live):
                if any(name in self.known.reached and name not in self.known.axes for name in node.output):
                    outputs = {name for name in live if name not in self.known.axes}
                    if all(self._is_size(name) for name in outputs):
                        continue
                    break
                continue
            ends = at == len(nodes) - 1
            if ends and tuple(live) != self._outputs and set(live) == set(self._outputs):
                live = list(self._outputs)
            if len(live) > MOST_LIVE or not all(self._cuttable(name) for name in live):
                continue
            if not ends and any(self._fuses(name) for name in live):
                continue
            found.append(tuple(live))
            weight.append(done)
        return self._thinned(found, weight)

    def _is_size(self, name: str) -> bool:
        dtype = self.model.value(name).dtype
        return dtype is not None and dtype.kind in "iu"

    def _cuttable(self, name: str) -> bool:
        height, width = self.known.axes[name]
        return width == height + 1

    def _fuses(self, name: str) -> bool:
        """Whether ONNX Runtime would compute the value and its only reader in one go."""
        node, readers = self.model.producer(name), self.model.consumers(name)
        return (
            node is not None
            and node.op_type in ("Conv", "BatchNormalization", "FusedConv", "ConvTranspose", "DequantizeLinear")
            and len(readers) == 1
            and (readers[0].op_type in _ACTIVATIONS or node.op_type == "DequantizeLinear")
        )

    def _thinned(self, cuts: list[tuple[str, ...]], weight: list[float]) -> list[tuple[str, ...]]:
        """Of cuts with next to nothing between them, the one with the fewest elements."""
        if len(cuts) <= 2:
            return cuts
        total = max(weight[-1], 1e-12)
        kept: list[int] = []
        for at in range(1, len(cuts)):
            if kept and weight[at] - weight[kept[-1]] < total / (4 * MOST_CUTS):
                if self._elements(cuts[at]) <= self._elements(cuts[kept[-1]]):
                    kept[-1] = at
            else:
                kept.append(at)
        while len(kept) > MOST_CUTS - 1:
            gaps = [weight[b] - weight[a] for a, b in zip([0, *kept], kept, strict=False)]
            del kept[int(np.argmin(gaps[:-1]))]
        last = len(cuts) - 1
        if cuts[last] == self._outputs and kept[-1] != last:
            kept.append(last)
        return [cuts[0], *(cuts[at] for at in kept)]

    def _elements(self, cut: Sequence[str]) -> int:
        return sum(math.prod(self.known.sizes[name] or (0,)) for name in cut) // self.known.batch

    # --- costs, in seconds of one core ---

    def _node_cost(self, node: NodeProto) -> tuple[float, float]:
        """For one sample: the time that grows with the size of the output, and the time of each run."""
        shape = self.known.sizes.get(node.output[0])
        if not set(node.output) & self.known.reached or shape is None:
            return 0.0, 0.0
        batch = self.known.batch
        product = macs(self.model, node, self.known.sizes) or 0
        rate = DENSE_RATE
        if node.op_type in ("Conv", "QLinearConv", "FusedConv", "ConvInteger") and product:
            weight = self.known.sizes.get(node.input[3 if node.op_type == "QLinearConv" else 1])
            if weight is not None and weight[1] == 1:
                rate = DEPTHWISE_RATE
        bytes_ = 0.0 if self._is_free(node) else 4.0 * math.prod(shape)
        return product / rate / batch + bytes_ / MEMORY_RATE / batch, NODE_TIME

    def _is_free(self, node: NodeProto) -> bool:
        """Computed together with what comes before, or not at all."""
        if plain_domain(node.domain) == "" and node.op_type in _ACTIVATIONS:
            before = self.model.producer(node.input[0])
            return before is not None and before.op_type in ("Conv", "BatchNormalization", "Add", "Gemm")
        return node.op_type in ("Reshape", "Flatten", "Identity", "Dropout", "Squeeze", "Unsqueeze")

    def _behind(self, cut: tuple[str, ...]) -> Section:
        """Everything behind a cut."""
        return section(self.model, self.known, cut, self._outputs)

    def _whole_time(self, part: Section) -> float:
        """One sample, whole maps."""
        return sum(self._each[node.output[0]][0] for node in part.nodes)

    def _paste_time(self, cut: tuple[str, ...]) -> float:
        return 4.0 * self._elements(cut) / PASTE_RATE

    def stage(self, entry: tuple[str, ...], exit: tuple[str, ...]) -> Stage | None:
        """The section between two cuts with its cost for all windows; None where it cannot be run on crops."""
        part = section(self.model, self.known, entry, exit)
        try:
            rows = along(self.known, part, self._changed[0], 0)
            columns = along(self.known, part, self._changed[1], 1)
        except Unfit:
            return None
        kinds = rows.kinds[self.windows.of(0)] * columns.count + columns.kinds[self.windows.of(1)]
        number = np.bincount(kinds, minlength=rows.count * columns.count).reshape(rows.count, columns.count)
        seconds = 0.0

        def area(name: str) -> NDArray[np.float64]:
            """Share of the value that is computed, by kind."""
            tall = np.array([lengths[name] for lengths in rows.length], float) / self.known.size(name, 0)
            wide = np.array([lengths[name] for lengths in columns.length], float) / self.known.size(name, 1)
            return np.outer(tall, wide)

        for node in part.nodes:
            seconds += float((number * area(node.output[0])).sum()) * self._each[node.output[0]][0]
        for name in (*part.entry, *part.exit):
            seconds += float((number * area(name)).sum()) * 4.0 * self._elements((name,)) / PASTE_RATE
        runs = np.ceil(number / self.at_once(part, rows, columns)).sum()
        seconds += float(runs) * (RUN_TIME + NODE_TIME * len(part.nodes))
        return Stage(part, rows, columns, seconds, int((number > 0).sum()))

    def at_once(self, part: Section, rows: Along, columns: Along) -> NDArray[np.int64]:
        """How many windows of each pair of kinds go into one run."""
        most = np.ones((rows.count, columns.count))
        for node in part.nodes:
            name = node.output[0]
            tall = np.array([lengths[name] for lengths in rows.length], float) / self.known.size(name, 0)
            wide = np.array([lengths[name] for lengths in columns.length], float) / self.known.size(name, 1)
            most = np.maximum(most, np.outer(tall, wide) * self._elements((name,)))
        return np.clip(RUN_ELEMENTS // most, 1, MOST_AT_ONCE).astype(np.int64)


_ACTIVATIONS = frozenset(
    """Relu Clip LeakyRelu Sigmoid HardSigmoid HardSwish Tanh Elu Selu PRelu BatchNormalization Add Mul
    QuantizeLinear Softplus ThresholdedRelu Gelu Erf""".split()
)
