"""What the stages that end in a cut would need of the values before it, estimated for every cut that they may start at.

The needs of a section follow from the composed reach of the value at its end: no walk through the nodes for each of the
sections anew. They are close to those of `stages.along`, which the chosen ones are made with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from .crop_geometry import Unfit, snapped
from .locality import Locality
from .reach import Spans

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
