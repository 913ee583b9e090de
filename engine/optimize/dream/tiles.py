"""Tiles: windows of one size that cover a picture, each with a border that only gives context."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

# Windows begin at multiples of this, so that a network's grid lies in them as it does in the whole picture.
_GRID = 32


@dataclass(frozen=True)
class Span:
    """Along one axis: a window's first pixel, and the pixels `first` to before `last` that count in it."""

    start: int
    first: int
    last: int


def spans(length: int, tile: int, overlap: int, rng: np.random.Generator) -> list[Span]:
    """Windows of `tile` pixels inside 0..length-1 whose parts that count cover it, each pixel once.

    The first begins at 0 and the last ends at `length`; those between lie at random. A pixel that counts is `overlap`
    pixels from its window's edge, except at the picture's.
    """
    if length <= tile:
        return [Span(0, 0, length)]
    step = tile - 2 * overlap
    grid = _GRID if step >= _GRID else 1
    starts, last = [0], length - tile
    place = grid * int(rng.integers(1, step // grid + 1))
    while place < last:
        starts.append(place)
        place += step // grid * grid
    starts.append(last)
    # Windows meet in the middle of what they share.
    meets = [0, *((a + tile + b) // 2 for a, b in itertools.pairwise(starts)), length]
    return [Span(start, a, b) for start, a, b in zip(starts, meets, meets[1:], strict=False)]
