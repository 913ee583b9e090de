"""YOLO from version 3 on: boxes and scores side by side in one output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ..evidence import Evidence, along
from ..forms import form_of
from ..layout import Axes, Form, Grid, Layout, Part, Read
from ..registry import rule
from .common import meaning, with_shapes


@rule("one-output", 50)
def one_output(evidence: Evidence) -> Layout | None:
    """One output with a row or a column for each candidate: its box, perhaps how sure it is to be one, its scores."""
    named = evidence.hints.get("boxes")
    names = [n for n in evidence.floats() if evidence.array(n).ndim == 3 and (named is None or n == named)]
    if not names:
        return None
    name = max(names, key=lambda n: evidence.array(n).size)
    table = evidence.array(name)
    rows = 1 if table.shape[1] >= table.shape[2] else 2
    columns = 3 - rows
    count, width = table.shape[rows], table.shape[columns]
    if width < 5 or count < 4:
        return None
    axes: Axes = "NAK" if columns == 2 else "NKA"
    flat = np.moveaxis(table, columns, -1).reshape(-1, width)
    parts = along(evidence.model, evidence, name, columns)
    grids, anchors = evidence.grids(count) or ((), 1)
    if ordered := evidence.levels(name, rows):
        grids, anchors = ordered, max(grid.anchors for grid in ordered)
    known = any(evidence.function(value) is not None for value, _, _ in parts)
    if not (grids or known or evidence.is_probability(flat[:, 4:]) or evidence.hints):
        return None  # embeddings of tokens have this shape too
    told = f"output {name!r} holds {count} candidates of {width} numbers"
    classes, objectness, why = _columns(evidence, name, parts, width, anchors, axes)
    first = 5 if objectness else 4
    reads = {"boxes": _read(parts, axes, name, 0, 4), "scores": _read(parts, axes, name, first, first + classes)}
    activation, background, how = meaning(
        evidence, reads["scores"].value, flat[:, first : first + classes], softmax=False
    )
    form, relative, of_boxes = _form(evidence, flat[:, :4], grids)
    if form == "yolox" and not grids:
        raise ModelError(
            f"the boxes of the output {name!r} are not decoded and the places of its {count} candidates are unknown: "
            "export the model with its boxes decoded"
        )
    part = Part(
        reads["scores"], reads["boxes"],
        _read(parts, axes, name, 4, 5) if objectness else None,
    )  # fmt: skip
    rest = _read(parts, axes, name, first + classes, width)
    part, shapes, of_shapes = with_shapes(evidence, part, rest, flat[:, first + classes :])
    return Layout(
        "one-output", (part,), form, relative, activation, background, grids=grids,
        reasons=(told, *why, *how, *of_boxes, *of_shapes), **shapes,
    )  # fmt: skip


def _columns(
    evidence: Evidence, name: str, parts: list[tuple[str, int, int]], width: int, anchors: int, axes: Axes
) -> tuple[int, bool, list[str]]:
    """How many columns are classes, whether one before them is objectness, and why."""
    hints = evidence.hints
    prototypes = [o for o in evidence.floats() if o != name and evidence.array(o).ndim == 4]
    masks = evidence.array(prototypes[0]).shape[1] if prototypes else 0
    widths = [size for _, _, size in parts]
    if "classes" in hints or "objectness" in hints:
        sure = bool(hints.get("objectness", False))
        classes = int(hints.get("classes", width - 4 - sure - masks))
        return classes, sure, ["columns: as given"]
    functions = [evidence.function(value) for value, _, _ in parts]
    if len(parts) >= 2 and widths[0] == 4 and functions[1] is not None and functions[1].kind == "sigmoid":
        if widths[1] == 1 and len(parts) > 2 and functions[2] is not None and functions[2].kind == "sigmoid":
            return widths[2], True, [f"put together of {widths}: box, objectness, classes"]
        return widths[1], False, [f"put together of {widths}: box, classes (a sigmoid)"]
    if evidence.labels is not None and width - masks in (evidence.labels + 4, evidence.labels + 5):
        sure = width - masks == evidence.labels + 5
        return evidence.labels, sure, [f"{evidence.labels} classes have labels, so objectness is {sure}"]
    if width == 56 and axes == "NKA":
        return 1, False, ["one class and 17 points of three numbers: pose"]
    sure = anchors > 1 or axes == "NAK"
    why = f"{anchors} anchors for each place" if anchors > 1 else "candidates are " + ("rows" if sure else "columns")
    return width - 4 - sure - masks, sure, [f"objectness {'is' if sure else 'is not'} among the columns: {why}"]


def _read(parts: list[tuple[str, int, int]], axes: Axes, name: str, first: int, end: int) -> Read:
    """Columns of the output; of the value that was put into it where they fill that exactly."""
    at = 0
    for value, axis, size in parts:
        if (at, at + size) == (first, end):
            return Read(value, "NAK" if axis == 2 else "NKA")
        if at <= first and end <= at + size:
            return Read(value, "NAK" if axis == 2 else "NKA", columns=(first - at, end - at))
        at += size
    return Read(name, axes, columns=(first, end))


def _form(evidence: Evidence, boxes: NDArray[np.floating], grids: tuple[Grid, ...]) -> tuple[Form, bool, list[str]]:
    form, relative, why = form_of(boxes, evidence)
    if "box_format" in evidence.hints:
        return form, relative, why
    height, width = evidence.plane
    span = np.ptp(boxes[:, 0]) / width + np.ptp(boxes[:, 1]) / height
    if (not relative and span < 0.5) or (relative and (boxes[:, 2:4] < 0).any()):
        return "yolox", False, ["offsets and logarithms of sizes in strides (YOLOX): the centres do not span the plane"]
    # YOLO's sizes belong to centres; corners are found only where their order says so.
    return form, relative, why
