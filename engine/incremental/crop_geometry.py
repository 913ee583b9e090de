"""A part of a network, between two cuts, written for a part of its map: the crop that a hidden window changes.

Borders are exact without masks: an interval that would go over the border of a value is cut there, and what was cut
off becomes the padding of that one convolution or pooling on that one side; on the other sides it has none. Windows
whose intervals look the same, relative to each other, share a graph of fixed shapes: in the middle of the image nearly
all of them do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..graph.model import Model
from ..inspect.locality.reach import Spans, union
from ..proto.nodes import reads
from .locality import Locality


class Unfit(Exception):
    """The part cannot be written for crops."""


@dataclass(frozen=True)
class CropStage:
    """The nodes between two cuts, in graph order, and the values of both cuts."""

    nodes: tuple[NodeProto, ...]
    entry: tuple[str, ...]
    exit: tuple[str, ...]


def section(model: Model, known: Locality, entry: tuple[str, ...], exit: tuple[str, ...]) -> CropStage:
    """What computes `exit` from `entry`; nodes that only constants go into are left out."""
    wanted, nodes = set(exit) - set(entry), []
    for node in reversed(model.graph.node):
        if any(name in wanted for name in node.output):
            nodes.append(node)
            wanted.update(n for n in reads(node) if n in known.reached and n not in entry)
    return CropStage(tuple(nodes[::-1]), entry, exit)


@dataclass(frozen=True)
class Along:
    """The geometry of a section along one axis, for n windows.

    kinds: which geometry each window has (n,), numbers from 0. start: by value of the entry, for every window (n,), the
    first position of the crop that goes in; given: by value of the exit, of the crop that comes out. For every kind:
    length: how much of each value is computed. reads: by node and input, (offset, taken) of what the node reads within
    what is computed. pads: by node, (before, after), the padding that is left to it. skips: by node, what an enlarged
    crop has too much in front. handed: by value of the exit, (offset, taken) of what is handed on.
    """

    kinds: NDArray[np.int64]
    count: int
    start: dict[str, NDArray[np.int64]]
    length: list[dict[str, int]]
    reads: list[dict[tuple[str, str], tuple[int, int]]]
    pads: list[dict[str, tuple[int, int]]]
    skips: list[dict[str, int]]
    given: dict[str, NDArray[np.int64]]
    handed: list[dict[str, tuple[int, int]]]


# A geometry for windows at a border is as large as the largest of them needs; so many of them are told apart.
GROUPS = 2


def along(known: Locality, part: CropStage, changed: dict[str, Spans], axis: int, groups: int = GROUPS) -> Along:
    """Geometries of a section along rows (axis 0) or columns (1), where `changed` is what changes of every value."""
    if any(name not in known.axes for name in (*part.entry, *part.exit)):
        raise Unfit
    wanted = {
        name: snapped(changed[name], known.size(name, axis), partial(_over, known, part, name, axis), groups)
        for name in part.exit
    }
    need, edges, pads, skips = _needs(known, part, wanted, axis)
    columns: list[NDArray[np.int64]] = []
    labels: list[tuple[str, object]] = []
    for name in need:
        columns.append(need[name][:, 1] - need[name][:, 0])
        labels.append(("length", name))
    for key, spans in edges.items():
        columns += [spans[:, 0] - need[key[1]][:, 0], spans[:, 1] - spans[:, 0]]
        labels += [("offset", key), ("taken", key)]
    for node, cut in pads.items():
        columns += [cut[:, 0], cut[:, 1]]
        labels += [("before", node), ("after", node)]
    for node, over in skips.items():
        columns.append(over)
        labels.append(("skip", node))
    for name in part.exit:
        columns += [wanted[name][:, 0] - need[name][:, 0], wanted[name][:, 1] - wanted[name][:, 0]]
        labels += [("from", name), ("handed", name)]
    rows, kinds = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    table = [dict(zip(labels, row.tolist(), strict=True)) for row in rows]
    return Along(
        kinds=np.asarray(kinds, np.int64).reshape(-1),
        count=len(rows),
        start={name: need[name][:, 0] for name in part.entry},
        length=[{name: row["length", name] for name in need} for row in table],
        reads=[{key: (row["offset", key], row["taken", key]) for key in edges} for row in table],
        pads=[{node: (row["before", node], row["after", node]) for node in pads} for row in table],
        skips=[{node: row["skip", node] for node in skips} for row in table],
        given={name: wanted[name][:, 0] for name in part.exit},
        handed=[{name: (row["from", name], row["handed", name]) for name in part.exit} for row in table],
    )


def snapped(changed: Spans, size: int, over: Callable[[Spans], NDArray[np.bool_]], groups: int) -> Spans:
    """Intervals of an exit of `size` positions that hold what changes of it, of few different kinds.

    over: whether what intervals need goes over a border of any value, (n, 2), at the start and at the end. Where it
    does not, the interval lies anywhere, as long as the longest of them; where it does, it is drawn out to that
    border, and over both, it is the whole axis. groups: different lengths at each border.
    """
    first, end = np.minimum(changed[:, 0], size - 1), np.maximum(changed[:, 1], 1)
    end = np.maximum(end, first + 1)
    longest = int((end - first).max())
    start = np.clip(first, 0, max(size - longest, 0))
    free = np.stack([start, np.minimum(start + longest, size)], 1)
    outside = over(free)
    inside = ~outside.any(axis=1)
    if inside.any() and not inside.all():  # those at the borders do not count: what is left may be shorter
        longest = int((end - first)[inside].max())
        start = np.clip(first, 0, max(size - longest, 0))
        free = np.stack([start, np.minimum(start + longest, size)], 1)
        # A window that is longer than all those inside stays with the border that it was found to reach.
        outside = np.where((end - first > longest)[:, None], outside, over(free))
        inside = ~outside.any(axis=1)
    if inside.all():
        return free
    low, high = outside[:, 0] & ~outside[:, 1], outside[:, 1] & ~outside[:, 0]
    result = free.copy()
    result[outside.all(axis=1)] = 0, size
    if low.any():
        result[low, 0] = 0
        result[low, 1] = _grouped(end[low], groups)
    if high.any():
        result[high, 0] = size - _grouped(size - first[high], groups)
        result[high, 1] = size
    # Drawn out to one border, an interval may reach over the other one.
    outside = over(result)
    result[(low & outside[:, 1]) | (high & outside[:, 0])] = 0, size
    return np.asarray(result, np.int64)


def _grouped(lengths: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Each length, made longer so that there are at most `groups` of them, at the least cost."""
    values, counts = np.unique(lengths, return_counts=True)
    if len(values) <= groups:
        return lengths
    # best[g][j]: least sum of the first j values in g groups, each as long as its longest
    total = np.concatenate([[0], np.cumsum(counts)])
    best = [[0.0] + [np.inf] * len(values)]
    last: list[list[int]] = []
    for _ in range(groups):
        row, cut = [0.0], [0]
        for j in range(1, len(values) + 1):
            costs = [best[-1][i] + float(values[j - 1] * (total[j] - total[i])) for i in range(j)]
            cut.append(int(np.argmin(costs)))
            row.append(costs[cut[-1]])
        best.append(row)
        last.append(cut)
    ends, j = [], len(values)
    for cut in last[::-1]:
        if j:
            ends.append(int(values[j - 1]))
            j = cut[j]
    limits = np.array(sorted(ends))
    return np.asarray(limits[np.searchsorted(limits, lengths)], np.int64)


def _over(known: Locality, part: CropStage, name: str, axis: int, spans: Spans) -> NDArray[np.bool_]:
    """Whether what `spans` of an exit need goes over any value's border, at the start and at the end: (n, 2)."""
    pads = _needs(known, part, {name: spans}, axis)[2]
    over = np.zeros((len(spans), 2), bool)
    for cut in pads.values():
        over |= cut > 0
    return over


def _needs(
    known: Locality, part: CropStage, wanted: dict[str, Spans], axis: int
) -> tuple[dict[str, Spans], dict[tuple[str, str], Spans], dict[str, Spans], dict[str, NDArray[np.int64]]]:
    """What is needed of every value, what every node reads of its inputs, what padding that leaves it with, and how
    much an enlarged crop has too much in front.

    Raises Unfit.
    """
    need: dict[str, Spans] = dict(wanted)
    edges: dict[tuple[str, str], Spans] = {}
    pads: dict[str, Spans] = {}
    skips: dict[str, NDArray[np.int64]] = {}
    for node in reversed(part.nodes):
        out: Spans | None = None
        for output in node.output:
            if output in need:
                out = union(out, need[output])
        if out is None:
            continue
        key = node.output[0]
        step = known.steps.get(key)
        if step is None:
            raise Unfit
        for output in filter(None, node.output):
            need[output] = out
        for name, reach in step.reaches.items():
            size = known.size(name, axis)
            over = reach[axis].backward(out)
            read = np.clip(over, 0, size)
            if (read[:, 0] >= read[:, 1]).any():
                raise Unfit  # nothing but padding
            edges[key, name] = read
            need[name] = union(need.get(name), read)
            if step.kind == "pad" or (step.kind == "window" and name == node.input[0]):
                pads[key] = np.abs(over - read)
                if node.op_type.endswith("Pool") and (pads[key] >= step.windows[axis][0]).any():
                    raise Unfit  # ONNX Runtime pads pools by less than their window
            elif step.kind == "resize":
                factor = known.size(key, axis) // size
                skips[key] = out[:, 0] - read[:, 0] * factor if factor else np.zeros(len(out), np.int64)
    return need, edges, pads, skips
