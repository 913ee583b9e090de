"""The graph of a model as rows: a layer a row, in order, and lines at the side for branches that join further down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..tasks.site.view import LayerView

# Rows up to which a graph is shown unfolded; the rows of a block when it is folded, at least and at most.
_UNFOLDED, _LEAST, _MOST = 48, 4, 24
# Pixels between lines, those of the first from the edge, and the height of a row in the units of its picture.
_STEP, _FIRST, _HEIGHT = 12, 12, 40
# Lines next to each other at most: of more, the last one stands for all.
_LANES = 6


@dataclass(frozen=True)
class NodeRow:
    """A row: name, operators, shape, the layer of the site if it is one, and the lines of its picture as SVG paths."""

    name: str
    op: str
    shape: str
    layer: LayerView | None
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """Rows that are folded together."""

    title: str
    note: str
    nodes: tuple[NodeRow, ...]

    @property
    def layer(self) -> LayerView | None:
        """The last layer with units in it."""
        found = [node.layer for node in self.nodes if node.layer is not None]
        return found[-1] if found else None


def blocks_of(graph: Mapping[str, Any], layers: Mapping[str, LayerView]) -> tuple[list[Block], int]:
    """The rows in blocks, one block where there are few, and how wide the pictures of lines are."""
    nodes, edges = graph["nodes"], [(int(a), int(b)) for a, b in graph["edges"]]
    lanes = lanes_of(edges, len(nodes))
    paths = _paths(edges, lanes, len(nodes))
    rows = [
        NodeRow(node["name"], node["op"], node["shape"], layers.get(node["slug"] or ""), tuple(paths[place]))
        for place, node in enumerate(nodes)
    ]
    width = 2 * _FIRST + _STEP * max(lanes.values(), default=0)
    if len(rows) <= _UNFOLDED:
        return [Block("", "", tuple(rows))], width
    return [_block(rows[first:last]) for first, last in _cuts(edges, len(rows))], width


def lanes_of(edges: Sequence[tuple[int, int]], count: int) -> dict[tuple[int, int], int]:
    """For every edge past other rows a line that no edge at the same height has; lines are counted from 1."""
    free_from: list[int] = []
    found: dict[tuple[int, int], int] = {}
    for first, last in sorted(edge for edge in edges if edge[1] > edge[0] + 1):
        lane = next((n for n, free in enumerate(free_from) if free <= first), len(free_from))
        if lane == len(free_from) and lane < _LANES:
            free_from.append(last)
        lane = min(lane, _LANES - 1)
        free_from[lane] = max(last, free_from[lane])
        found[first, last] = lane + 1
    return found


def _paths(edges: Sequence[tuple[int, int]], lanes: Mapping[tuple[int, int], int], count: int) -> list[list[str]]:
    paths: list[list[str]] = [[] for _ in range(count)]
    middle = _HEIGHT // 2
    for first, last in edges:
        lane = lanes.get((first, last))
        if lane is None:
            paths[first].append(f"M{_FIRST} {middle}V{_HEIGHT}")
            paths[last].append(f"M{_FIRST} 0V{middle}")
            continue
        x = _FIRST + _STEP * lane
        paths[first].append(f"M{_FIRST} {middle}C{x} {middle} {x} {middle} {x} {_HEIGHT}")
        for row in range(first + 1, last):
            paths[row].append(f"M{x} 0V{_HEIGHT}")
        paths[last].append(f"M{x} 0C{x} {middle} {x} {middle} {_FIRST} {middle}")
    return [list(dict.fromkeys(row)) for row in paths]


def _cuts(edges: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """(first, last) of blocks: cut where one edge alone goes on, if there is such a place, else after the most rows."""
    crossing = [0] * (count + 1)
    for first, last in edges:
        for row in range(first + 1, last + 1):
            crossing[row] += 1
    found, start = [], 0
    for row in range(1, count):
        length = row - start
        if (length >= _LEAST and crossing[row] <= 1) or length >= _MOST:
            found.append((start, row))
            start = row
    return [*found, (start, count)]


def _block(rows: Sequence[NodeRow]) -> Block:
    first, last = rows[0], rows[-1]
    title = first.name if len(rows) == 1 else f"{first.name} … {last.name}"
    return Block(title, f"{len(rows)} layer{'s' * (len(rows) > 1)}, to {last.shape}", tuple(rows))
