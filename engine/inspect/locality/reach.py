"""Intervals of positions of one axis, and what of them an operator reads and changes.

Position p of an output reads the positions floor((p * num + low) / den) ... floor((p * num + high) / den) of its input:
a stride of s is num = s, an enlargement by f is den = f. From that follow, exactly, what changes of the output
(`forward`) and what is needed of the input (`backward`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Intervals [first, end) of one axis, one row for every window: int64 (n, 2).
Spans: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Reach:
    """Position p of an output reads floor((p * num + low) / den) ... floor((p * num + high) / den) of its input."""

    num: int = 1
    den: int = 1
    low: int = 0
    high: int = 0

    def forward(self, spans: Spans, size: int) -> Spans:
        """The part of an output of `size` positions that can change when `spans` of the input do."""
        first = -((self.high - spans[:, 0] * self.den) // self.num)
        end = -((self.low - spans[:, 1] * self.den) // self.num)
        end = np.where(spans[:, 0] < spans[:, 1], np.maximum(first, end), first)
        return np.stack([np.clip(first, 0, size), np.clip(end, 0, size)], 1)

    def backward(self, spans: Spans) -> Spans:
        """The part of the input that `spans` of the output read; it may go over the input's borders."""
        first = (spans[:, 0] * self.num + self.low) // self.den
        last = ((spans[:, 1] - 1) * self.num + self.high) // self.den
        return np.stack([first, last + 1], 1)


SAME = Reach()


def union(a: Spans | None, b: Spans) -> Spans:
    """The smallest intervals that hold both."""
    if a is None:
        return b
    first, end = np.minimum(a[:, 0], b[:, 0]), np.maximum(a[:, 1], b[:, 1])
    both = np.stack([first, end], 1)
    both = np.where(a[:, :1] < a[:, 1:], both, b)
    return np.asarray(np.where(b[:, :1] < b[:, 1:], both, a), np.int64)


def middle(spans: Spans, most: int) -> Spans:
    """The middle `most` positions of every interval."""
    over = np.maximum(spans[:, 1] - spans[:, 0] - most, 0)
    first = spans[:, 0] + over // 2
    return np.stack([first, np.minimum(spans[:, 1], first + most)], 1)
