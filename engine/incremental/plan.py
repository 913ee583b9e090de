"""Where to cut a network for occlusion: the stages that run on crops, and what they are expected to cost.

A cut is a set of values, each with rows and columns, that everything behind it is computed from. A plan is a chain of
cuts from the image on; between two cuts only crops are computed (`crop_geometry.py`), behind the last one whole
maps. The cheapest chain is found by dynamic programming over the cuts with a cost in seconds for every section: the
multiply-accumulates of its crops, snapped to the shapes that will really run, at the rate of their kind of operator,
plus the memory that is moved and a fixed time for every node and run. Counting operations alone splits too often.

The rates are fixed numbers: the same model and windows give the same plan on every machine, and the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..graph.model import Model
from ..inspect.macs import macs
from ..proto.nodes import plain_domain, reads
from .crop_geometry import Along, CropStage, Unfit, along, section
from .estimates import Composed, Needed, needed, representatives
from .locality import Locality, changed
from .reach import Spans

# What one processor core does, measured with ONNX Runtime 1.31 on a core with AVX-512.
DENSE_RATE = 80e9  # multiply-accumulates per second of convolutions over many channels, and of products of matrices
DEPTHWISE_RATE = 9e9  # of convolutions over one channel each
MEMORY_RATE = 8e9  # bytes per second of everything else: read, changed, written
NODE_TIME = 2e-6  # seconds for every node of every run
RUN_TIME = 30e-6  # seconds for every run of a session
PASTE_RATE = 4e9  # bytes per second of crops gathered, fed, reordered, copied out
GRAPH_TIME = 5e-3  # seconds to make one session, before it has run once, and for every node of it
GRAPH_NODE_TIME = 3e-4
WEIGHT_RATE = 1e9  # bytes of weights per second that making a session takes
MOST_WEIGHTS = 400 << 20  # bytes of the weights of all sessions of a plan
SMALL = 0.4  # seconds of work that are over before a plan is made

LEAST_CUTS, CUTS_PER_SECOND, MOST_CUTS = 12, 8, 24
MOST_LIVE = 3
MOST_MAP = 6 << 20  # elements of the untouched image's maps at one cut, which are kept
# Elements of the largest value of one run: a batch of crops that stays in the cache of a core.
RUN_ELEMENTS = 1 << 19
MOST_AT_ONCE = 16
# Behind the last cut, whole maps: rows of one run, fewer where the largest value of them all has more elements.
TAIL_AT_ONCE = 4
TAIL_ELEMENTS = 1 << 23
# Elements of the weights of layers that are run for many windows at once, and of what they read.
LEAST_WEIGHTS = 4 << 20
MOST_ROW = 1 << 16


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

    part: CropStage
    rows: Along
    columns: Along


@dataclass(frozen=True)
class Cut:
    """values: everything behind them depends on the image through them. at: the place of the last node before them.
    done: seconds of the whole network up to there.
    """

    values: tuple[str, ...]
    at: int
    done: float


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


class _Cost(NamedTuple):
    """Of a section: the number of the cut that it starts at, groups, seconds for all windows, bytes of weights."""

    entry: int
    groups: int
    seconds: float
    weight: float


class _NoStage(Exception):
    """The section between two cuts cannot be run on crops after all."""

    def __init__(self, entry: int, exit: int) -> None:
        self.entry, self.exit = entry, exit


@dataclass
class Planner:
    """Finds the plan for a model that computes nothing but what is asked for.

    known: what is local in it. windows: those that will be hidden. cap: see `regions.changed`.
    share: of the windows that will be looked at.
    """

    model: Model
    known: Locality
    windows: Windows
    cap: float | None = None
    share: float = 1.0
    _changed: list[dict[str, Spans]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = [changed(self.model, self.known, self.windows.spans(axis), axis, self.cap) for axis in (0, 1)]

    def plan(self) -> Plan:
        """The cheapest chain of cuts."""
        count = len(self.windows.boxes) * self.share
        plain = count * self._whole_time(self._behind((self.known.source,)))
        # Planning takes time too, by the square of the cuts: a small job is given few.
        cuts = self.cuts(int(np.clip(CUTS_PER_SECOND * plain, LEAST_CUTS, MOST_CUTS)))
        whole = Plan((), cuts[0].values, False, plain, plain, "")
        if len(cuts) == 1:
            return replace(whole, reason="nothing of the network is local: it is run whole")
        if plain < SMALL:
            return replace(whole, reason="too few windows for cuts to pay: the network is run whole")
        costs = [self._costs(cuts[:j], cut) for j, cut in enumerate(cuts)]
        price = 0.0
        while True:
            try:
                plan, weight = self._cheapest(cuts, costs, whole, price)
            except _NoStage as error:
                costs[error.exit] = [cost for cost in costs[error.exit] if cost.entry != error.entry]
                continue
            if weight <= MOST_WEIGHTS:
                return plan
            price = 2 * price or 1e-3 * plain / MOST_WEIGHTS  # fewer, larger or earlier stages

    def _cheapest(self, cuts: list[Cut], costs: list[list[_Cost]], whole: Plan, price: float) -> tuple[Plan, float]:
        """The chain of least cost, and the bytes of all its sessions' weights. Raises _NoStage.

        costs: for every cut those of the sections that end there. price: seconds per byte of weights.
        """
        count, plain = len(self.windows.boxes) * self.share, whole.plain
        best = [0.0]
        chosen: list[_Cost | None] = [None]
        for ending_here in costs[1:]:
            totals = [best[cost.entry] + cost.seconds + price * cost.weight for cost in ending_here]
            least = int(np.argmin(totals)) if totals else None
            best.append(math.inf if least is None else totals[least])
            chosen.append(None if least is None else ending_here[least])
        ending = cuts[-1].values == self._outputs
        totals_ = []
        for i, cut in enumerate(cuts):
            ends = ending and i == len(cuts) - 1
            rest = self._paste_time(cut.values) + (0.0 if ends else self._whole_time(self._behind(cut.values)))
            totals_.append(best[i] + count * rest)
        totals_[0] = plain
        at = int(np.argmin(totals_))
        if at == 0:
            return replace(whole, reason="no cut pays: what changes is nearly the whole of every map"), 0.0
        stages: list[Stage] = []
        i, weight = at, 0.0
        while (step := chosen[i]) is not None:
            try:
                stages.append(self.stage(cuts[step.entry].values, cuts[i].values, step.groups))
            except Unfit:
                raise _NoStage(step.entry, i) from None
            weight += step.weight
            i = step.entry
        names = ", ".join(name if len(name) <= 60 else f"{name[:28]}...{name[-28:]}" for name in cuts[at].values)
        reason = f"exact: {len(stages)} stages on crops, whole maps from {names} on"
        if self.cap is not None:
            reason = f"approximate, no more than {self.cap:g} of a map's sides changes: " + reason.removeprefix(
                "exact: "
            )
        ends = ending and at == len(cuts) - 1
        return Plan(tuple(stages[::-1]), cuts[at].values, ends, totals_[at], plain, reason), weight

    # --- cuts ---

    @cached_property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.model.graph.output)

    def cuts(self, most: int = MOST_CUTS) -> list[Cut]:
        """Sets of values that separate the image from the outputs, up to `most`, in graph order, the image first."""
        nodes = self._nodes
        last = {name: at for at, node in enumerate(nodes) for name in reads(node)}
        last.update((name, len(nodes)) for name in self._outputs)
        live = [self.known.source]
        found = [Cut((self.known.source,), -1, 0.0)]
        done = 0.0
        for at, node in enumerate(nodes):
            live += [name for name in node.output if name in last]
            live = [name for name in live if last[name] > at]
            done += self._each[node.output[0]]
            if any(name not in self.known.axes and not self._is_size(name) for name in node.output if name):
                break  # everything behind depends on all positions
            if any(name not in self.known.axes for name in live):
                continue
            ends = at == len(nodes) - 1
            values = self._outputs if ends and set(live) == set(self._outputs) else tuple(live)
            large = not ends and self.elements(live) > MOST_MAP
            if large or len(live) > MOST_LIVE or not all(self._cuttable(name) for name in live):
                continue
            if ends or not any(self._fuses(name) for name in live):
                found.append(Cut(values, at, done))
        return self._thinned(found, most)

    def tail_at_once(self, behind: tuple[str, ...]) -> int:
        """How many whole maps go into one run behind a cut."""
        largest = max((self._sizes.get(node.output[0], 0) for node in self._behind(behind).nodes), default=1)
        return int(min(TAIL_AT_ONCE, max(1, TAIL_ELEMENTS // max(1, largest))))

    def heavy_end(self, behind: tuple[str, ...]) -> str | None:
        """A small value behind a cut from which on there are large matrices and little else; None where there is none.

        Such layers take as long for one row as for many: the time goes into reading their weights.
        """
        part = self._behind(behind).nodes
        last = {name: at for at, node in enumerate(part) for name in reads(node)}
        last.update((name, len(part)) for name in self._outputs)
        stored = {name: math.prod(tensor.dims) for name, tensor in self.model.initializers.items()}
        live = list(behind)
        for at, node in enumerate(part):
            live = [name for name in [*live, *node.output] if last.get(name, -1) > at]
            if len(live) != 1 or self.elements(live) not in range(1, MOST_ROW + 1):
                continue
            rest = part[at + 1 :]
            weights = sum(stored.get(name, 0) for name in {name for node in rest for name in reads(node)})
            work = sum(macs(self.model, node, self.known.sizes) or 0 for node in rest) / self.known.batch
            if weights >= LEAST_WEIGHTS and work <= 2 * weights:
                return live[0]
        return None

    def _is_size(self, name: str) -> bool:
        dtype = self.model.value(name).dtype
        return dtype is not None and dtype.kind in "iu"

    def _cuttable(self, name: str) -> bool:
        height, width = self.known.axes[name]
        return width == height + 1

    def _fuses(self, name: str) -> bool:
        """Whether ONNX Runtime would compute the value and its only reader in one go."""
        node, readers = self.model.producer(name), self.model.consumers(name)
        if node is None:
            return False
        if node.op_type == "DequantizeLinear" or self._is_rounded(name):
            return True  # apart, they would round otherwise than the integer operator they become
        return (
            node.op_type in ("Conv", "BatchNormalization", "FusedConv", "ConvTranspose")
            and len(readers) == 1
            and readers[0].op_type in _ACTIVATIONS
        )

    def _is_rounded(self, name: str) -> bool:
        """Whether the value, or what a function of it alone gives, is quantised next."""
        readers = self.model.consumers(name)
        if any(reader.op_type == "QuantizeLinear" for reader in readers):
            return True
        alone = len(readers) == 1 and readers[0].op_type in _ACTIVATIONS
        return alone and self._is_rounded(readers[0].output[0])

    def _thinned(self, cuts: list[Cut], most: int) -> list[Cut]:
        """Of cuts with next to nothing between them, the one with the fewest elements."""
        total = max(cuts[-1].done, 1e-12)
        kept: list[Cut] = []
        for cut in cuts[1:]:
            if kept and cut.done - kept[-1].done < total / (4 * most):
                if self.elements(cut.values) <= self.elements(kept[-1].values):
                    kept[-1] = cut
            else:
                kept.append(cut)
        while len(kept) > most - 1:
            gaps = [b.done - a.done for a, b in zip([cuts[0], *kept], kept, strict=False)]
            del kept[int(np.argmin(gaps[:-1]))]
        if cuts[-1].values == self._outputs and len(cuts) > 1 and kept[-1] != cuts[-1]:
            kept.append(cuts[-1])
        return [cuts[0], *kept]

    def elements(self, cut: Sequence[str]) -> int:
        """Of one sample of some values."""
        return sum(self._sizes[name] for name in cut)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Elements of every value, of one sample."""
        return {name: math.prod(shape or (0,)) // self.known.batch for name, shape in self.known.sizes.items()}

    # --- costs, in seconds of one core ---

    @cached_property
    def _nodes(self) -> list[NodeProto]:
        return [node for node in self.model.graph.node if set(node.output) & self.known.reached]

    @cached_property
    def _each(self) -> dict[str, float]:
        """Seconds of every node for a whole map of one sample, by its first output."""
        return {node.output[0]: self._node_cost(node) for node in self._nodes}

    @cached_property
    def _weights(self) -> dict[str, int]:
        """Elements of the weights of every node, by its first output."""
        stored = {name: math.prod(tensor.dims) for name, tensor in self.model.initializers.items()}
        return {n.output[0]: sum(stored.get(name, 0) for name in dict.fromkeys(n.input)) for n in self._nodes}

    def _node_cost(self, node: NodeProto) -> float:
        shape = self.known.sizes.get(node.output[0])
        if shape is None:
            return 0.0
        product = macs(self.model, node, self.known.sizes) or 0
        rate = DENSE_RATE
        if node.op_type in ("Conv", "QLinearConv", "FusedConv", "ConvInteger") and product:
            weight = self.known.sizes.get(node.input[3 if node.op_type == "QLinearConv" else 1])
            if weight is not None and weight[1] == 1:
                rate = DEPTHWISE_RATE
        moved = 0.0 if self._is_free(node) else 4.0 * math.prod(shape)
        return (product / rate + moved / MEMORY_RATE) / self.known.batch

    def _is_free(self, node: NodeProto) -> bool:
        """Computed together with what comes before, or not at all."""
        if plain_domain(node.domain) == "" and node.op_type in _ACTIVATIONS:
            before = self.model.producer(node.input[0])
            return before is not None and before.op_type in ("Conv", "BatchNormalization", "Add", "Gemm")
        return node.op_type in ("Reshape", "Flatten", "Identity", "Dropout", "Squeeze", "Unsqueeze")

    def _behind(self, cut: tuple[str, ...]) -> CropStage:
        """Everything behind a cut."""
        return section(self.model, self.known, cut, self._outputs)

    def _whole_time(self, part: CropStage) -> float:
        """One sample, whole maps."""
        return sum(self._each[node.output[0]] for node in part.nodes)

    def _paste_time(self, cut: tuple[str, ...]) -> float:
        return 4.0 * self.elements(cut) / PASTE_RATE

    def stage(self, entry: tuple[str, ...], exit: tuple[str, ...], groups: int) -> Stage:
        """The section between two cuts with its geometries. Raises Unfit."""
        part = section(self.model, self.known, entry, exit)
        rows = along(self.known, part, self._changed[0], 0, groups)
        columns = along(self.known, part, self._changed[1], 1, groups)
        return Stage(part, rows, columns)

    @cached_property
    def _spread(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For rows and columns: the intervals that stand for all, and which of them stands for each."""
        return [representatives(len(self.windows.spans(axis))) for axis in (0, 1)]

    @cached_property
    def _number(self) -> NDArray[np.float64]:
        """How many windows have each pair of those intervals."""
        (rows, row), (columns, column) = self._spread
        number = np.zeros((len(rows), len(columns)))
        np.add.at(number, (row[self.windows.of(0)], column[self.windows.of(1)]), self.share)
        return number

    def _costs(self, entries: Sequence[Cut], exit: Cut) -> list[_Cost]:
        """Of the sections that end in `exit`.

        What is needed of the values of a section is estimated from the composed reach of each of them, without going
        through the nodes for every section anew.
        """
        try:
            reaches = [[Composed.of(self._nodes, self.known, name, axis) for name in exit.values] for axis in (0, 1)]
        except Unfit:
            return []
        number = self._number
        spans = [[self._changed[axis][name][self._spread[axis][0]] for name in exit.values] for axis in (0, 1)]
        square = all(a.same(b) for a, b in zip(*reaches, strict=True)) and all(
            np.array_equal(a, b) for a, b in zip(*spans, strict=True)
        )
        found = []
        for i, entry in enumerate(entries):
            for groups in (1, 2):
                rows = needed(reaches[0], spans[0], entry.values, entry.at, groups)
                columns = rows if square else needed(reaches[1], spans[1], entry.values, entry.at, groups)
                if rows is not None and columns is not None:
                    found.append(_Cost(i, groups, *self._cost(entry, exit, rows, columns, number)))
        return found

    def _cost(
        self, entry: Cut, exit: Cut, rows: Needed, columns: Needed, number: NDArray[np.float64]
    ) -> tuple[float, float]:
        """The time of one section for all windows, and the bytes of the weights of its sessions."""
        shares = ((rows.share @ number) * columns.share).sum(axis=1)  # of each value, summed over the windows
        each = np.array([self._each.get(name, 0.0) for name in rows.names])
        size = np.array([self.elements((name,)) for name in rows.names], float)
        moved = np.array([name in entry.values or name in exit.values for name in rows.names])
        seconds = float(shares @ (each + moved * 4.0 * size / PASTE_RATE))
        largest = ((rows.most * size[:, None])[:, :, None] * columns.most[:, None, :]).max(axis=0)
        kinds = np.zeros_like(largest)
        np.add.at(kinds, (rows.kind[:, None], columns.kind[None, :]), number)
        runs = np.ceil(kinds / np.clip(RUN_ELEMENTS // np.maximum(largest, 1), 1, MOST_AT_ONCE)).sum()
        nodes = sum(1 for name in rows.names if name in self._each)
        seconds += float(runs) * (RUN_TIME + NODE_TIME * nodes)
        graphs = int((kinds > 0).sum())
        weight = graphs * 4.0 * sum(self._weights.get(name, 0) for name in rows.names)
        return seconds + graphs * (GRAPH_TIME + GRAPH_NODE_TIME * nodes) + weight / WEIGHT_RATE, weight

    def at_once(self, part: CropStage, rows: Along, columns: Along) -> NDArray[np.int64]:
        """How many windows of each pair of kinds go into one run."""
        most = np.ones((rows.count, columns.count))
        for node in part.nodes:
            name = node.output[0]
            tall = np.array([lengths[name] for lengths in rows.length], float) / self.known.size(name, 0)
            wide = np.array([lengths[name] for lengths in columns.length], float) / self.known.size(name, 1)
            most = np.maximum(most, np.outer(tall, wide) * self.elements((name,)))
        return np.clip(RUN_ELEMENTS // most, 1, MOST_AT_ONCE).astype(np.int64)


_ACTIVATIONS = frozenset(
    """Relu Clip LeakyRelu Sigmoid HardSigmoid HardSwish Tanh Elu Selu PRelu BatchNormalization Add Mul
    QuantizeLinear Softplus ThresholdedRelu Gelu Erf""".split()
)
