"""CenterNet and CenterFace: a heat map for every class, sizes and offsets of the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evidence import Evidence
from ..layout import Grid, Layout, Part, Read
from ..registry import rule
from .common import meaning

# What exporters call the maps.
_SIZES, _OFFSETS = ("wh", "size", "scale"), ("off", "reg")


@rule("centre", 45)
def centre(evidence: Evidence) -> Layout | None:
    """Maps of one size: the peaks of one are objects, two channels are their size, two their place in the cell."""
    maps = {n: evidence.array(n) for n in evidence.floats() if evidence.array(n).ndim == 4}
    if len(maps) not in (2, 3, 4) or len({a.shape[2:] for a in maps.values()}) != 1:
        return None
    if not _as_said(evidence, maps):
        return None
    if len(maps) == 4:
        return _center_face(evidence, maps)
    twos = [n for n, a in maps.items() if a.shape[1] == 2]
    heats = [n for n in maps if n not in twos]
    said = evidence.hints.get("scores")
    if said is not None:
        heats, twos = [said], [n for n in twos if n != said]
    elif len(twos) == 3:  # two classes: the heat map is called so, or it alone is a probability
        heats = [n for n in twos if evidence.function(n) is not None] or twos[:1]
        twos = [n for n in twos if n not in heats]
    if len(heats) != 1 or len(heats) + len(twos) != len(maps):
        return None
    heat, twos = heats[0], _sizes_first(evidence, maps, twos)
    size, offset = twos[0], twos[1] if len(twos) > 1 else None
    cells = maps[heat].shape[2:]
    stride = evidence.plane[0] / cells[0]
    scores = np.moveaxis(maps[heat], 1, -1).reshape(-1, maps[heat].shape[1])
    activation, _, why = meaning(evidence, heat, scores, softmax=False)
    grid = Grid((cells[0], cells[1]), stride, corner=True)
    part = Part(
        Read(heat, "NKHW"), Read(size, "NKHW"), grid=grid, offsets=None if offset is None else Read(offset, "NKHW")
    )
    told = f"maps of {cells[0]}x{cells[1]} places: peaks of {heat!r}, sizes {size!r}, offsets {offset!r}"
    return Layout("centre", (part,), "centre", activation=activation, peaks=True, reasons=(told, *why))


def _as_said(evidence: Evidence, maps: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the maps are what the user or the card says: the form of boxes, the outputs of sizes and of scores."""
    form = "centerface" if len(maps) == 4 else "centre"
    boxes, scores = (evidence.hints.get(name) for name in ("boxes", "scores"))
    sizes = [n for n, a in maps.items() if a.shape[1] == 2 and n != scores]
    return (
        evidence.hints.get("box_format", form) == form
        and (boxes is None or boxes in sizes)
        and (scores is None or scores in maps)
    )


def _sizes_first(evidence: Evidence, maps: Mapping[str, NDArray[Any]], twos: Sequence[str]) -> list[str]:
    """Sizes and offsets: what is said, else by their names, else by their numbers, as offsets lie within the cell."""

    def order(name: str) -> tuple[bool, bool, bool, float]:
        is_called = [any(word in name.lower() for word in words) for words in (_SIZES, _OFFSETS)]
        return name != evidence.hints.get("boxes"), not is_called[0], is_called[1], -float(np.abs(maps[name]).mean())

    return sorted(twos, key=order)


def _center_face(evidence: Evidence, maps: Mapping[str, NDArray[Any]]) -> Layout | None:
    """CenterFace: a map of certainty, logarithms of sizes, offsets, each y before x, and five points of a face."""
    by_channels = {a.shape[1]: [n for n in maps if maps[n].shape[1] == a.shape[1]] for a in maps.values()}
    if {channels: len(names) for channels, names in by_channels.items()} != {1: 1, 2: 2, 10: 1}:
        return None
    (heat,), (size, offset) = by_channels[1], _sizes_first(evidence, maps, by_channels[2])
    if evidence.hints.get("scores", heat) != heat:
        return None
    cells = maps[heat].shape[2:]
    activation, _, why = meaning(evidence, heat, maps[heat].reshape(-1, 1), softmax=False)
    part = Part(
        *(Read(heat, "NKHW"), Read(size, "NKHW")),
        grid=Grid((cells[0], cells[1]), evidence.plane[0] / cells[0]),
        offsets=Read(offset, "NKHW"),
    )
    told = f"maps of {cells[0]}x{cells[1]}: places of {heat!r}, logarithms of sizes {size!r}, offsets {offset!r}"
    points = "points of the face are not read"
    return Layout("centre", (part,), "centerface", activation=activation, peaks=False, reasons=(told, *why, points))
