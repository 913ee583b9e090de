"""What is left after suppression: YOLOv10, RT-DETR with a selection, TensorFlow's four outputs, torchvision's three."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...inspect.chosen_rows import rows_of_boxes
from ..evidence import Evidence
from ..forms import form_of
from ..layout import Axes, Layout, Part, Read
from ..registry import rule
from .common import with_shapes

_MOST = 1000


@rule("final-table", 20)
def final_table(evidence: Evidence) -> Layout | None:
    """Boxes, their scores and the numbers of their classes, in one output or in three."""
    return _one(evidence) or _several(evidence)


def _one(evidence: Evidence) -> Layout | None:
    for name in evidence.floats():
        array = evidence.array(name)
        if array.ndim not in (2, 3) or array.shape[-1] < 6 or not 0 < array.shape[-2] <= _MOST:
            continue
        width = array.shape[-1]
        if width > 7 and (array.ndim == 2 or not _may_have_shapes(evidence, width - 6)):
            continue
        rows = array.reshape(-1, width)
        if width > 7:  # coefficients of masks, or points, stand behind
            rows, behind = rows[:, :6], rows[:, 6:]
        else:
            behind = rows[:, :0]
        label = _label(rows)
        score = None if label is None else _score(rows, label)
        if label is None or score is None:
            continue
        first = next(i for i in range(rows.shape[1]) if not {i, i + 1, i + 2, i + 3} & {label, score})
        axes: Axes = "NAK" if array.ndim == 3 else "AK"
        form, relative, how = form_of(rows[:, first : first + 4], evidence, name, final=True)
        reads = [
            Read(name, axes, columns=(i, j)) for i, j in ((score, score + 1), (first, first + 4), (label, label + 1))
        ]
        told = (
            f"output {name!r} holds {array.shape[-2]} boxes, column {score} their scores, column {label} their classes"
        )
        part = Part(reads[0], reads[1], labels=reads[2])
        part, shapes, why = with_shapes(evidence, part, Read(name, axes, columns=(6, width)), behind)
        return Layout("final-table", (part,), form, relative, final=True, reasons=(told, *how, *why), **shapes)
    return None


def _may_have_shapes(evidence: Evidence, extra: int) -> bool:
    """Whether so many columns can be coefficients of masks, or points of three numbers."""
    maps = [a for a in map(evidence.array, evidence.floats()) if a.ndim == 4]
    return any(a.shape[1] == extra for a in maps) or extra % 3 == 0


def _label(rows: NDArray[np.floating]) -> int | None:
    """The column of whole numbers, the last such one; one that does not change says nothing unless it is the last."""
    for i in reversed(range(rows.shape[1])):
        column, last = rows[:, i], i == rows.shape[1] - 1
        if np.array_equal(column, np.rint(column)) and column.min() >= 0 and (last or len(np.unique(column)) > 1):
            return i
    return None


def _score(rows: NDArray[np.floating], label: int) -> int | None:
    """The column within 0 and 1 that falls."""
    for i in range(rows.shape[1]):
        column = rows[:, i]
        if i != label and column.min() >= 0 and column.max() <= 1 and (np.diff(column) <= 1e-6).all():
            return i
    return None


def _several(evidence: Evidence) -> Layout | None:
    """Boxes, scores and classes in outputs of their own: TensorFlow (N, M, 4), torchvision (M, 4)."""
    arrays = {v.name: evidence.array(v.name) for v in evidence.model.outputs if v.dtype is not None}
    selects = any(n.op_type in ("NonMaxSuppression", "TopK", "NonZero") for n in evidence.model.graph.node)
    for name, boxes in arrays.items():
        if boxes.dtype.kind != "f" or boxes.ndim not in (2, 3) or boxes.shape[-1] != 4 or not selects:
            continue
        flat = {
            n: a for n, a in arrays.items() if n != name and a.ndim == boxes.ndim - 1 and a.shape == boxes.shape[:-1]
        }
        whole = [n for n, a in flat.items() if a.dtype.kind in "iu"]
        whole += [n for n in flat if n not in whole and ("class" in n.lower() or "label" in n.lower())]
        scores = [n for n, a in flat.items() if a.dtype.kind == "f" and n not in whole]
        if not scores or not (whole or rows_of_boxes(evidence.model, evidence.model.value(name))):
            continue
        form, relative, how = form_of(boxes, evidence, name, final=True)
        rows: Axes = "AK" if boxes.ndim == 2 else "NAK"
        columns: Axes = "A" if boxes.ndim == 2 else "NA"
        labels = Read(whole[0], columns) if whole else None
        part = Part(Read(scores[0], columns), Read(name, rows), labels=labels)
        told = f"outputs {name!r}, {scores[0]!r} hold boxes and scores of what is left, all of one class"
        if whole:
            told = f"outputs {name!r}, {scores[0]!r}, {whole[0]!r} hold boxes, scores and classes of what is left"
        part, shapes, why = _shapes(arrays, part, boxes.shape)
        return Layout("final-table", (part,), form, relative, final=True, reasons=(told, *how, *why), **shapes)
    return None


def _shapes(
    arrays: Mapping[str, NDArray[Any]], part: Part, boxes: tuple[int, ...]
) -> tuple[Part, dict[str, Any], list[str]]:
    """Torchvision's masks (M, 1, H, W) and points (M, P, 3) of what is left."""
    for name, array in arrays.items():
        if len(boxes) != 2 or array.dtype.kind != "f" or array.shape[:1] != boxes[:1]:
            continue
        if array.ndim == 4 and array.shape[1] == 1:
            return part, {"maps": Read(name, "A1HW")}, [f"{name!r} has a mask for each"]
        if array.ndim == 3 and array.shape[2] in (2, 3):
            read = Read(name, "APK")
            return (
                replace(part, points=read),
                {"points": array.shape[1:]},
                [f"{name!r} has their points"],
            )
    return part, {}, []
