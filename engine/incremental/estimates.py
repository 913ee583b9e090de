"""What the stages that end in a cut would need of the values before it, and the seconds that this takes, estimated for
every cut that they may start at.

The needs of a section follow from the composed reach of the value at its end: no walk through the nodes for each of the
sections anew. They are close to those of `crop_geometry.along`, which the chosen ones are made with.

The cost of a section is that of the multiply-accumulates of its crops, snapped to the shapes that will really run, at
the rate of their kind of operator, plus the memory that is moved and a fixed time for every node and run. Counting
operations alone splits too often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..inspect.locality.reach import Spans
from .crop_geometry import Along, CropStage, Unfit, snapped
from .cuts import Cut
from .locality import Locality, changed
from .network import Network
from .windows import Windows

# Seconds and rates of one core, measured as those of `network.py`.
NODE_TIME = 2e-6  # seconds for every node of every run
RUN_TIME = 30e-6  # seconds for every run of a session
PASTE_RATE = 4e9  # bytes per second of crops gathered, fed, reordered, copied out
GRAPH_TIME = 5e-3  # seconds to make one session, before it has run once, and for every node of it
GRAPH_NODE_TIME = 3e-4
WEIGHT_RATE = 1e9  # bytes of weights per second that making a session takes
SMALL = 0.4  # seconds of work that are over before a plan is made
# Elements of the largest value of one run: a batch of crops that stays in the cache of a core.
RUN_ELEMENTS = 1 << 19
MOST_AT_ONCE = 16

# Intervals of rows and columns that costs are estimated with; of more, every so many stand for their neighbours.
MOST_SPANS = 40


def representatives(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Some of `count` intervals, all at both ends and fewer between them; and for each of all the nearest one."""
    third = MOST_SPANS // 3
    if count <= MOST_SPANS:
        chosen = np.arange(count)
    else:
        middle = np.linspace(third, count - 1 - third, MOST_SPANS - 2 * third).round().astype(np.int64)
        chosen = np.unique(np.concatenate([np.arange(third), middle, np.arange(count - third, count)]))
    nearest = np.abs(np.arange(count)[:, None] - chosen).argmin(axis=1)
    return chosen, np.asarray(nearest, np.int64)


@dataclass(frozen=True)
class Composed:
    """What a value at a cut reads of all values before it, along one axis: one column for each of them.

    names, at: the values in graph order and the places of their nodes; reach (4, V): num, den, low, high; size (V,).
    """

    names: NDArray[Any]
    at: NDArray[np.int64]
    reach: NDArray[np.int64]
    size: NDArray[np.int64]

    @staticmethod
    def of(nodes: Sequence[NodeProto], known: Locality, exit: str, axis: int) -> Composed:
        """For the value `exit`; nodes: those that depend on the image, in graph order. Raises Unfit."""
        found: dict[str, tuple[int, int, int, int]] = {exit: (1, 1, 0, 0)}
        places: dict[str, int] = {known.source: -1}
        for at in range(len(nodes) - 1, -1, -1):
            node = nodes[at]
            mine = [found[name] for name in node.output if name in found]
            if not mine:
                continue
            step = known.steps.get(node.output[0])
            if step is None:
                raise Unfit
            num, den, low, high = _joined(mine)
            found[node.output[0]] = num, den, low, high
            places.update((name, at) for name in node.output)
            for name, reach in step.reaches.items():
                r = reach[axis]
                inner = num * r.num, den * r.den, low * r.num + r.low * den, high * r.num + r.high * den
                factor = math.gcd(inner[0], inner[1])
                if factor > 1 and inner[2] % factor == 0 and inner[3] % factor == 0:
                    inner = (inner[0] // factor, inner[1] // factor, inner[2] // factor, inner[3] // factor)
                found[name] = _joined([inner, *([found[name]] if name in found else [])])
        names = sorted(found, key=lambda name: places.get(name, -1))
        return Composed(
            np.array(names, object),
            np.array([places.get(name, -1) for name in names]),
            np.array([found[name] for name in names]).T,
            np.array([known.size(name, axis) for name in names]),
        )

    def same(self, other: Composed) -> bool:
        """Whether rows and columns behave alike."""
        return np.array_equal(self.reach, other.reach) and np.array_equal(self.size, other.size)

    def spans(self, chosen: NDArray[np.bool_], spans: Spans) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last positions (V, n) that `spans` of the exit read of the chosen values; over the borders too."""
        num, den, low, high = self.reach[:, chosen, None]
        return (spans[:, 0] * num + low) // den, ((spans[:, 1] - 1) * num + high) // den


def _joined(reaches: Sequence[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    num, den, low, high = reaches[0]
    for other in reaches[1:]:
        if other[0] * den != num * other[1]:
            raise Unfit  # grids of different steps
        if other[1] > den:
            num, den, low, high = other[0], other[1], low * other[1] // den, high * other[1] // den
        low, high = min(low, other[2] * den // other[1]), max(high, other[3] * den // other[1])
    return num, den, low, high


@dataclass(frozen=True)
class Needed:
    """Estimated needs of a section along one axis: share (V, n) of each value, most (V, k) of it by kind, kind (n,)."""

    names: list[str]
    share: NDArray[np.float64]
    kind: NDArray[np.int64]
    classes: NDArray[np.int64]
    most: NDArray[np.float64]


def needed(
    reaches: Sequence[Composed], spans: Sequence[Spans], entry: Sequence[str], after: int, groups: int
) -> Needed | None:
    """For the section from the values `entry`, behind the node at place `after`, to the values that `reaches` are of.

    spans: what changes of each of those; groups: see `stages.snapped`. None where an entry is not needed at all.
    """
    names: dict[str, int] = {}
    parts, look = [], []
    for reach, change in zip(reaches, spans, strict=True):
        chosen = (reach.at > after) | np.isin(reach.names, entry)
        sizes = reach.size[chosen][:, None]

        def over(at: Spans, reach: Composed = reach, chosen: Any = chosen, sizes: Any = sizes) -> NDArray[np.bool_]:
            low, high = reach.spans(chosen, at)
            return np.stack([(low < 0).any(axis=0), (high >= sizes).any(axis=0)], 1)

        exit = snapped(change, int(reach.size[-1]), over, groups)
        look += [over(exit), exit[:, 1:] - exit[:, :1]]
        low, high = reach.spans(chosen, exit)
        mine = [names.setdefault(name, len(names)) for name in reach.names[chosen]]
        parts.append((mine, np.maximum(low, 0), np.minimum(high, sizes - 1), sizes))
    if any(name not in names for name in entry):
        return None
    count = len(spans[0])
    first, last = np.full((len(names), count), 1 << 40), np.full((len(names), count), -1)
    size = np.ones((len(names), 1))
    for mine, low, high, sizes in parts:
        first[mine], last[mine] = np.minimum(first[mine], low), np.maximum(last[mine], high)
        size[mine] = sizes
    share = (last - first + 1) / size
    classes, kind = np.unique(np.concatenate(look, axis=1).astype(np.int64), axis=0, return_inverse=True)
    kind = np.asarray(kind, np.int64).reshape(-1)
    most = np.zeros((len(names), len(classes)))
    for which in range(len(classes)):
        most[:, which] = share[:, kind == which].max(axis=1)
    return Needed(list(names), share, kind, classes, most)


@dataclass(frozen=True, eq=False)
class Changes:
    """What changes of every value when windows are hidden: intervals of its rows and of its columns."""

    windows: Windows
    rows: dict[str, Spans]
    columns: dict[str, Spans]

    @staticmethod
    def of(network: Network, windows: Windows, cap: float | None = None) -> Changes:
        """cap: no more than this part of a map's sides counts as changed; see `locality.changed`."""
        model, known = network.model, network.known
        rows, columns = (changed(model, known, windows.spans(axis), axis, cap) for axis in (0, 1))
        return Changes(windows, rows, columns)

    def along(self, axis: int) -> dict[str, Spans]:
        """The intervals of rows (axis 0) or columns (1) by value, one for each of `windows.spans(axis)`."""
        return self.columns if axis else self.rows

    @cached_property
    def representatives(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For rows and columns: the intervals that stand for all, and which of them stands for each."""
        return [representatives(len(self.windows.spans(axis))) for axis in (0, 1)]

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """How many windows have each pair of those intervals."""
        (rows, row), (columns, column) = self.representatives
        numbers = np.zeros((len(rows), len(columns)))
        np.add.at(numbers, (row[self.windows.of(0)], column[self.windows.of(1)]), self.windows.share)
        return numbers


class Estimate(NamedTuple):
    """Of a section: the number of the cut that it starts at, groups, seconds for all windows, bytes of weights."""

    entry: int
    groups: int
    seconds: float
    weight: float


def estimate(network: Network, changes: Changes, entries: Sequence[Cut], exit: Cut) -> list[Estimate]:
    """What the sections from each of `entries` to `exit` cost; those that cannot be run on crops are left out.

    What is needed of the values of a section is estimated from the composed reach of each of them, without going
    through the nodes for every section anew.
    """
    known = network.known
    try:
        reaches = [[Composed.of(network.nodes, known, name, axis) for name in exit.values] for axis in (0, 1)]
    except Unfit:
        return []
    spans = [[changes.along(axis)[name][changes.representatives[axis][0]] for name in exit.values] for axis in (0, 1)]
    square = all(a.same(b) for a, b in zip(*reaches, strict=True)) and all(
        np.array_equal(a, b) for a, b in zip(*spans, strict=True)
    )
    found = []
    for number, entry in enumerate(entries):
        ends = {*entry.values, *exit.values}
        for groups in (1, 2):
            rows = needed(reaches[0], spans[0], entry.values, entry.at, groups)
            columns = rows if square else needed(reaches[1], spans[1], entry.values, entry.at, groups)
            if rows is not None and columns is not None:
                seconds, weight = _cost(network, rows, columns, changes.numbers, ends)
                found.append(Estimate(number, groups, seconds, weight))
    return found


def _cost(
    network: Network, rows: Needed, columns: Needed, numbers: NDArray[np.float64], ends: set[str]
) -> tuple[float, float]:
    """The seconds of one section for all windows, and the bytes of the weights of its sessions.

    ends: the values that it starts and ends with, which are moved in and out.
    """
    shares = ((rows.share @ numbers) * columns.share).sum(axis=1)  # of each value, summed over the windows
    each = np.array([network.seconds.get(name, 0.0) for name in rows.names])
    size = np.array([network.elements((name,)) for name in rows.names], float)
    moved = np.array([name in ends for name in rows.names])
    seconds = float(shares @ (each + moved * 4.0 * size / PASTE_RATE))
    largest = ((rows.most * size[:, None])[:, :, None] * columns.most[:, None, :]).max(axis=0)
    kinds = np.zeros_like(largest)
    np.add.at(kinds, (rows.kind[:, None], columns.kind[None, :]), numbers)
    runs = np.ceil(kinds / np.clip(RUN_ELEMENTS // np.maximum(largest, 1), 1, MOST_AT_ONCE)).sum()
    nodes = sum(1 for name in rows.names if name in network.seconds)
    seconds += float(runs) * (RUN_TIME + NODE_TIME * nodes)
    graphs = int((kinds > 0).sum())
    weight = graphs * 4.0 * sum(network.weights.get(name, 0) for name in rows.names)
    return seconds + graphs * (GRAPH_TIME + GRAPH_NODE_TIME * nodes) + weight / WEIGHT_RATE, weight


def paste_time(network: Network, cut: tuple[str, ...]) -> float:
    """Seconds to make whole maps of one window at a cut."""
    return 4.0 * network.elements(cut) / PASTE_RATE


def is_small(seconds: float) -> bool:
    """Whether so little work is over before a plan is made."""
    return seconds < SMALL


def at_once(network: Network, part: CropStage, rows: Along, columns: Along) -> NDArray[np.int64]:
    """How many windows of each pair of kinds of rows and columns go into one run of a section."""
    known, most = network.known, np.ones((rows.count, columns.count))
    for node in part.nodes:
        name = node.output[0]
        tall = np.array([lengths[name] for lengths in rows.length], float) / known.size(name, 0)
        wide = np.array([lengths[name] for lengths in columns.length], float) / known.size(name, 1)
        most = np.maximum(most, np.outer(tall, wide) * network.elements((name,)))
    return np.clip(RUN_ELEMENTS // most, 1, MOST_AT_ONCE).astype(np.int64)
