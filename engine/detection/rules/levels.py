"""PicoDet, NanoDet, SCRFD, FCOS: a few outputs for every level of the pyramid; heads of YOLOv3 and YOLOv5."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ..evidence import Evidence
from ..layout import Activation, Axes, Form, Grid, Layout, Part, Read
from ..registry import rule
from .common import meaning

_STRIDES = (2, 4, 8, 16, 32, 64, 128)
# YOLOv5's anchor boxes for COCO, (height, width) in pixels, by stride; YOLOv3's are the same.
ANCHORS: dict[int, tuple[tuple[float, float], ...]] = {
    8: ((13, 10), (30, 16), (23, 33)),
    16: ((61, 30), (45, 62), (119, 59)),
    32: ((90, 116), (198, 156), (326, 373)),
}


@dataclass(frozen=True)
class _Map:
    """An output of one level: its places, and its columns for each anchor."""

    name: str
    axes: Axes
    stride: int
    cells: tuple[int, int]
    anchors: int
    columns: int

    def read(self) -> Read:
        return Read(self.name, self.axes, self.anchors)


@rule("levels", 25)
def levels(evidence: Evidence) -> Layout | None:
    """Outputs for every level: scores and distances of the sides, or bins of them, of each place."""
    names = evidence.floats()
    if len(names) < 2:
        return None
    for anchors in (1, 2, 3, 9, 6):
        maps = [_map(evidence, name, anchors) for name in names]
        if any(m is None for m in maps):
            continue
        by_level: dict[int, list[_Map]] = {}
        for m in maps:
            assert m is not None
            by_level.setdefault(m.stride, []).append(m)
        kinds = {tuple(m.columns for m in level) for level in by_level.values()}
        if len(kinds) != 1 or len(by_level) < 2:
            continue
        columns = kinds.pop()
        ordered = [by_level[stride] for stride in sorted(by_level)]
        found = _raw(evidence, ordered) if len(columns) == 1 else _heads(evidence, ordered, columns)
        if found is not None:
            return found
    return None


def _map(evidence: Evidence, name: str, anchors: int) -> _Map | None:
    """An output as a level's map with that many anchors of each place."""
    shape = evidence.array(name).shape
    for stride in _STRIDES:
        h, w = evidence.cells(stride)
        if len(shape) == 5 and shape[1:4] == (anchors, h, w):
            return _Map(name, "NaHWK", stride, (h, w), anchors, shape[4])
        if len(shape) == 4 and shape[2:] == (h, w) and shape[1] % anchors == 0:
            return _Map(name, "NKHW", stride, (h, w), anchors, shape[1] // anchors)
        if len(shape) == 4 and shape[1:3] == (h, w) and shape[3] % anchors == 0:
            return _Map(name, "NHWK", stride, (h, w), anchors, shape[3] // anchors)
        if len(shape) == 3 and shape[1] == h * w * anchors:
            return _Map(name, "NAK", stride, (h, w), anchors, shape[2])
        if len(shape) == 3 and shape[2] == h * w * anchors:
            return _Map(name, "NKA", stride, (h, w), anchors, shape[1])
        if len(shape) == 2 and shape[0] == h * w * anchors:
            return _Map(name, "AK", stride, (h, w), anchors, shape[1])
    return None


def _grid(m: _Map, **more: object) -> Grid:
    return replace(Grid(m.cells, m.stride, m.anchors, m.axes == "NaHWK"), **more)  # type: ignore[arg-type]


def _raw(evidence: Evidence, ordered: list[list[_Map]]) -> Layout | None:
    """One output for each level that holds everything: the heads of YOLOv3 and YOLOv5 before they are decoded."""
    maps = [level[0] for level in ordered]
    width, anchors = maps[0].columns, maps[0].anchors
    if anchors != 3 or width < 6:
        return None
    sizes = evidence.hints.get("anchors") or ANCHORS
    missing = [m.stride for m in maps if m.stride not in sizes]
    if missing:
        raise ModelError(
            f"the outputs are heads with anchor boxes and those of stride {missing[0]} are unknown: export the model "
            "with its boxes decoded"
        )
    parts = []
    for m in maps:
        read = m.read()
        grid = _grid(m, sizes=tuple(sizes[m.stride]))
        parts.append(
            Part(
                replace(read, columns=(5, width)),
                replace(read, columns=(0, 4)),
                replace(read, columns=(4, 5)),
                grid=grid,
                width=width,
            )
        )
    told = f"{len(maps)} outputs of {anchors} anchors with {width} numbers each, at strides {[m.stride for m in maps]}"
    some = evidence.array(maps[0].name)
    activation: Activation = "" if evidence.is_probability(some) else "sigmoid"
    how = "after their sigmoid" if not activation else "before their sigmoid"
    why = (told, f"heads {how}", "anchor boxes of YOLOv5 for COCO: assumed, the file does not hold them")
    return Layout("levels", tuple(parts), "anchors", activation=activation, reasons=why)


def _heads(evidence: Evidence, ordered: list[list[_Map]], columns: tuple[int, ...]) -> Layout | None:
    """Several outputs for each level: which are boxes, which scores, which say how sure it is to be an object."""
    box = _boxes(evidence, ordered, columns)
    if box is None:
        return None
    others = [i for i in range(len(columns)) if i != box]
    many = [i for i in others if columns[i] > 1 and not (columns[i] == 10 and 1 in columns)]
    score = many[0] if many else others[0]
    # Landmarks have twice as many numbers as points, and no probability.
    if len(many) > 1:
        score = next((i for i in many if evidence.function(ordered[0][i].name) is not None), many[0])
    sure = next((i for i in others if columns[i] == 1 and i != score), None)
    m = ordered[0]
    numbers = np.concatenate([_columns(evidence, level[score]) for level in ordered])
    activation, background, why = meaning(evidence, m[score].name, numbers, softmax=False)
    form, corner, how = _distances(evidence, ordered, box, columns[box])
    parts = []
    for level in ordered:
        objectness = level[sure].read() if sure is not None else None
        parts.append(
            Part(
                level[score].read(),
                level[box].read(),
                objectness,
                grid=_grid(level[box], corner=corner),
                width=columns[score],
            )
        )
    told = (
        f"{len(ordered)} levels at strides {[level[0].stride for level in ordered]}, each with {list(columns)} numbers"
    )
    return Layout(
        "levels", tuple(parts), form, activation=activation, background=background, root=sure is not None,
        reasons=(told, *why, *how),
    )  # fmt: skip


def _columns(evidence: Evidence, m: _Map) -> NDArray[np.floating]:
    """(candidates, columns) of a map, in no particular order of its anchors."""
    array = evidence.array(m.name)
    if m.axes == "NKA":
        array = np.moveaxis(array, 1, -1)
    if m.axes == "NKHW":
        array = np.moveaxis(array.reshape(array.shape[0], m.anchors, m.columns, -1), 2, -1)
    return np.asarray(array.reshape(-1, m.columns))


def _boxes(evidence: Evidence, ordered: list[list[_Map]], columns: tuple[int, ...]) -> int | None:
    """Which of a level's outputs holds boxes: the one of four numbers, else of a multiple of four that is no score."""
    named = [i for i, m in enumerate(ordered[0]) if any(w in m.name.lower() for w in ("box", "reg", "dis", "loc"))]
    four = [i for i, k in enumerate(columns) if k == 4]
    if len(four) == 1:
        return four[0]
    fitting = four or [i for i, k in enumerate(columns) if k % 4 == 0 and 8 <= k // 4 <= 32]
    for i in fitting:
        if i in named:
            return i
    plain = [i for i in fitting if not evidence.is_probability(_columns(evidence, ordered[0][i]))]
    return plain[0] if plain else None


def _distances(evidence: Evidence, ordered: list[list[_Map]], box: int, columns: int) -> tuple[Form, bool, list[str]]:
    """How the numbers of a box say where its sides are."""
    given = evidence.hints.get("box_format")
    if columns > 4:
        return "bins", False, [f"{columns} numbers for a box: {columns // 4} bins for each side (focal loss)"]
    if given is not None:
        return given, False, [f"box_format {given}: as given"]
    means = [float(np.abs(_columns(evidence, level[box])).mean()) for level in ordered]
    lowest = min(float(_columns(evidence, level[box]).min()) for level in ordered)
    spread = means[-1] / max(means[0], 1e-9)
    strides = ordered[-1][box].stride / ordered[0][box].stride
    if lowest < -0.5 * max(means):
        raise ModelError(
            f"the output {ordered[0][box].name!r} holds offsets from prior boxes or logarithms, which the file does "
            "not explain: export the model with its boxes decoded, or say detector={'box_format': 'distances'}"
        )
    # Points of two anchors at one place are the corner of the place: SCRFD.
    corner = ordered[0][box].anchors == 2
    where = "the first corner of its place" if corner else "the centre of its place"
    if spread > 0.6 * strides:
        return "pixels", corner, [f"distances from {where} in pixels: they grow with the stride ({spread:.2g} times)"]
    return "distances", corner, [f"distances from {where} in strides: levels differ by {spread:.2g}"]
