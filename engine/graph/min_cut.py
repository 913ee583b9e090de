"""The smallest set of vertices that separates two sets of vertices in a directed graph.

By Menger's theorem it has as many vertices as there are vertex-disjoint paths. Those are found as a maximum flow (Ford
and Fulkerson 1956) through the graph whose every vertex is split into an entrance and an exit, joined by an edge of
capacity one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

# A vertex and whether its exit is meant; the two ends of the flow have no vertex.
_Half: TypeAlias = "tuple[str, bool] | str"
_SOURCE, _SINK = "source", "sink"
_UNBOUNDED = 1 << 30


def latest_separator(edges: Mapping[str, Collection[str]], sources: Iterable[str], targets: Iterable[str]) -> set[str]:
    """The smallest set of vertices on every path from `sources` to `targets`; of several, the one nearest the targets.

    `edges` maps a vertex to its successors. Sources and targets may belong to the set themselves.
    """
    residual: dict[_Half, dict[_Half, int]] = {}

    def connect(start: _Half, end: _Half, capacity: int) -> None:
        residual.setdefault(start, {})[end] = capacity
        residual.setdefault(end, {}).setdefault(start, 0)

    ends = {name for successors in edges.values() for name in successors}
    for name in dict.fromkeys([*sources, *targets, *edges, *sorted(ends)]):
        connect((name, False), (name, True), 1)
    for start, successors in edges.items():
        for end in successors:
            connect((start, True), (end, False), _UNBOUNDED)
    for name in sources:
        connect(_SOURCE, (name, False), _UNBOUNDED)
    for name in targets:
        connect((name, True), _SINK, _UNBOUNDED)
    while _augment(residual):
        pass
    reaching = _reaching_sink(residual)
    return {
        half[0]
        for half in residual
        if isinstance(half, tuple) and half[1] and half in reaching and (half[0], False) not in reaching
    }


def _augment(residual: dict[_Half, dict[_Half, int]]) -> bool:
    """Send one more unit along a shortest path; False if there is none."""
    before: dict[_Half, _Half] = {}
    queue: deque[_Half] = deque([_SOURCE])
    while queue and _SINK not in before:
        here = queue.popleft()
        for there, capacity in residual.get(here, {}).items():
            if capacity and there not in before and there != _SOURCE:
                before[there] = here
                queue.append(there)
    if _SINK not in before:
        return False
    end: _Half = _SINK
    while end != _SOURCE:
        start = before[end]
        residual[start][end] -= 1
        residual[end][start] += 1
        end = start
    return True


def _reaching_sink(residual: dict[_Half, dict[_Half, int]]) -> set[_Half]:
    reaching: set[_Half] = {_SINK}
    queue: deque[_Half] = deque([_SINK])
    while queue:
        there = queue.popleft()
        for here in residual.get(there, {}):
            if here not in reaching and residual[here][there]:
                reaching.add(here)
                queue.append(here)
    return reaching
