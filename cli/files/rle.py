"""Masks as COCO's run-length encoding, the form that pycocotools reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as {"size": [H, W], "counts": text}: runs of 0 and 1 by columns, compressed as in COCO."""
    flat = np.asarray(mask, np.bool_).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    ends = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(ends).tolist()
    counts = runs if flat.size == 0 or not flat[0] else [0, *runs]  # the first run is of zeros
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _compressed(counts)}


def _compressed(counts: list[int]) -> str:
    """Each count from the third on as its difference to the one two before, in groups of five bits, lowest first."""
    text = []
    for number, count in enumerate(counts):
        rest = count - counts[number - 2] if number > 2 else count
        more = True
        while more:
            bits = rest & 0x1F
            rest >>= 5
            more = rest != -1 if bits & 0x10 else rest != 0
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(text)


def from_rle(coded: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask (H, W) of COCO's form, compressed or a list of counts. Raises ValueError for runs of another length."""
    height, width = (int(side) for side in coded["size"])
    counts = coded["counts"]
    runs = _counts(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"runs of {sum(runs)} pixels do not fill {height} x {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(values, runs).reshape(width, height).T, np.bool_)


def _counts(text: str) -> list[int]:
    """What `_compressed` has written."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return counts
