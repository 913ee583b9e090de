"""Boxes of a detector: why this one, why this class, why so wide."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detection.detections import Detection, Detections
from ...detection.table import Table
from ...emitter.emitter import Emitter
from ...errors import TargetError
from ..boxes import (
    Asked,
    Aspect,
    BoxTarget,
    boxes_in,
    check_label,
    chosen,
    cotangent,
    emitted,
    model_of,
    ranked,
    table_in,
    value_of,
)
from ..registry import form, is_number, kind
from ..resolved import Place, Resolved
from ..target import Target
from .region import box_of, check_box

_CLASS = "class="
_OTHER_ROWS = (
    "the model chooses its boxes itself and writes them in order: in a changed image the row of this box may hold "
    "another box; d-rise finds the box by its overlap, and class activation maps by gradients leave the image as it is"
)


@kind
@dataclass(frozen=True)
class Box(Target):
    """One box of a detector: the score of its class before the sigmoid or softmax.

    rank: the most certain is 1, of the class `label` (a name, or a number) where one is given. at: (y, x) that it is
    around, the smallest such box. edges: (y0, x0, y1, x1) that it overlaps most. side: one of its sides or sizes in
    pixels of the model's plane in place of the score, "x1", "y1", "x2", "y2", "w", "h". objectness: how sure the model
    is that there is an object at all. mask: the mean logit of its mask's pixels. keypoint: how sure the model is that
    this point of a pose is seen, by name or number; with the side "x" or "y" where it is. found, among: the box that
    was meant and all boxes of the image, once these are known.
    """

    rank: int = 1
    label: str | int | None = None
    at: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = None
    side: str | None = None
    objectness: bool = False
    mask: bool = False
    keypoint: str | int | None = None
    found: Detection | None = field(default=None, compare=False, repr=False)
    among: Detections | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise TargetError(f"there is no box {self.rank}: the most certain one is 1")
        _ = self.aspect  # one at most
        check_box(self.edges)

    def __str__(self) -> str:
        parts = ["box"]
        if self.at is not None:
            parts.append(f"at:{_plain(self.at)}")
        if self.edges is not None:
            parts.append(_plain(self.edges))
        if self.label is not None:
            parts.append(self.label if isinstance(self.label, str) else f"{_CLASS}{self.label}")
        if self.rank > 1:
            parts.append(str(self.rank))
        return ":".join(parts) + str(self.aspect)

    @property
    def aspect(self) -> Aspect:
        """What of the box is explained."""
        return Aspect(self.side, self.objectness, self.mask, self.keypoint)

    @property
    def of_answer(self) -> bool:
        return True

    @property
    def title(self) -> str:
        if self.found is None:
            return str(self)
        which = "" if self.among is None else f" ({self.among_all} of {len(self.among)})"
        return f"{self.aspect.title}{self.found.title} {100 * self.found.score:.1f} %{which}"

    @property
    def among_all(self) -> int:
        """Which of all boxes of the image it is, the most certain one being 1."""
        if self.among is None or self.found is None:
            return self.rank
        here = (self.among.candidates == self.found.candidate) & (self.among.labels == self.found.label)
        return int(np.flatnonzero(here)[0]) + 1

    @property
    def asked(self) -> Asked:
        return Asked(self.rank, self.label, self.at, self.edges)

    def resolve(self, place: Place) -> Resolved:
        check_label(self.label, place.labels)
        table = table_in(place)
        found = [] if place.run is None else boxes_in(place, table)
        settled = [_settled(self, boxes, chosen(boxes, self.asked, place.labels)) for boxes in found]
        resolved = _resolved(self, table, [[box] for box in settled])
        if found or self.at is not None or self.edges is not None:
            return resolved
        label = place.labels.index(self.label) if isinstance(self.label, str) and place.labels else self.label
        which = ranked(place.model, table, self.rank, label if isinstance(label, int) else None)

        def emit(op: Emitter, of: str) -> str:
            return emitted(op, which, self.aspect)

        return replace(resolved, emit=emit, ranked=which)


@kind
@dataclass(frozen=True)
class Boxes(Target):
    """The most certain boxes of a detector, a map for each; `count` None stands for all of them."""

    count: int | None = None
    label: str | int | None = None
    side: str | None = None
    objectness: bool = False
    mask: bool = False
    keypoint: str | int | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise TargetError(f"box:top:{self.count} names no box: ask for at least one")
        _ = self.aspect  # one at most

    @property
    def aspect(self) -> Aspect:
        """What of the boxes is explained."""
        return Aspect(self.side, self.objectness, self.mask, self.keypoint)

    def __str__(self) -> str:
        parts = ["box", "all" if self.count is None else f"top:{self.count}"]
        if self.label is not None:
            parts.append(self.label if isinstance(self.label, str) else f"{_CLASS}{self.label}")
        return ":".join(parts) + str(self.aspect)

    @property
    def is_several(self) -> bool:
        return True

    @property
    def of_answer(self) -> bool:
        return True

    def resolve(self, place: Place) -> Resolved:
        check_label(self.label, place.labels)
        table = table_in(place)
        found = [] if place.run is None else boxes_in(place, table)
        rows = []
        for boxes in found:
            numbers = [chosen(boxes, Asked(1, self.label), place.labels)]
            if self.label is None:
                numbers = list(range(len(boxes)))
            else:
                numbers = [i for i in range(len(boxes)) if self.label in (int(boxes.labels[i]), boxes.names[i])]
            rows.append([_settled(self, boxes, i) for i in numbers[: self.count]])
        if len({len(row) for row in rows}) > 1:
            raise TargetError(
                f"the images have {', '.join(str(len(row)) for row in rows)} boxes for {self}: explain one at a time"
            )
        return _resolved(self, table, rows)


def _settled(asked: Box | Boxes, boxes: Detections, number: int) -> Box:
    """The box that is meant, by its number among all of the image."""
    found = boxes[number]
    if isinstance(asked, Box) and (asked.at is not None or asked.edges is not None or asked.label is not None):
        return replace(asked, found=found, among=boxes)
    return Box(number + 1, found=found, among=boxes, **asdict(asked.aspect))


def _resolved(asked: Box | Boxes, table: Table, rows: Sequence[Sequence[Box]]) -> BoxTarget:
    """rows: the boxes of every sample, none where there are no samples yet."""
    aspect = asked.aspect
    value = value_of(table, aspect)
    candidates = tuple(box.found.candidate for row in rows for box in row if box.found is not None)

    def pick(y: NDArray[Any]) -> NDArray[np.float32]:
        if not rows:
            raise TargetError("a box is found in an image, and there is none here: give an image")
        masks = itertools.count()  # those of all samples follow one another
        found = [
            [cotangent(y.shape[1:], table, box.found, aspect, next(masks)) for box in row if box.found] for row in rows
        ]
        return np.array(found, np.float32)

    def names(y: NDArray[Any]) -> list[Target]:
        return [box for row in rows for box in row]

    several = asked.is_several and (not isinstance(asked, Boxes) or asked.count != 1)
    count = len(rows[0]) if rows else 2 if several else 1
    return BoxTarget(
        *(model_of(table, aspect, candidates), value, asked, pick, False, names, table.reason),
        count=count,
        elsewhere=_OTHER_ROWS if table.layout.final else "",
        table=table,
        candidates=candidates,
    )


def _plain(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


@form(
    "box",
    "box, box:K, box:LABEL, box:LABEL:K, box:class=N, box:at:Y,X, box:Y0,X0,Y1,X1, box:top:K, box:all, then "
    ":side=x1 (y1, x2, y2, w, h), :objectness, :mask, :point:NAME or :point:NAME:x (y)",
    "a box of a detector: the most certain one, the K-th (of a class), the one at a point or most like another; "
    "`top:3` and `all` are several, a map for each; `side=w` asks why it is that wide, `mask` is that of instance "
    "segmentation, `point` one of a pose",
    bare=True,
)
def _box(text: str) -> Target:
    parts = [part.strip() for part in text.split(":")] if text else []
    parts, more = _aspect(parts)
    if parts[:1] == ["all"] or parts[:1] == ["top"]:
        count = int(parts[1]) if parts[0] == "top" else None
        return Boxes(count, _label(parts[1 if count is None else 2 :]), **more)
    if parts[:1] == ["at"]:
        y, x = parts[1].split(",")
        return Box(at=(float(y), float(x)), **more)
    if parts and (edges := box_of(f":{parts[0]}")[1]) is not None:
        return Box(label=_label(parts[1:]), edges=edges, **more)
    rank = int(parts.pop()) if parts and is_number(parts[-1]) else 1
    return Box(rank, _label(parts), **more)


def _label(parts: Sequence[str]) -> str | int | None:
    """The class that what is left of a text names, if any. Raises ValueError for more than one."""
    if not parts:
        return None
    (label,) = parts
    return int(label.removeprefix(_CLASS)) if label.startswith(_CLASS) else label


def _aspect(parts: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The parts of a text that say which box, and what of it as fields. Raises ValueError."""
    if parts and parts[-1] in ("objectness", "mask"):
        return parts[:-1], {parts[-1]: True}
    if parts and parts[-1].startswith("side="):
        return parts[:-1], {"side": parts[-1].removeprefix("side=")}
    if "point" in parts[:-1]:
        at = len(parts) - 1 - parts[::-1].index("point")
        which, *side = parts[at + 1 :]
        if len(side) > 1 or not which:
            raise ValueError(which)
        return parts[:at], {"keypoint": int(which) if is_number(which) else which, "side": side[0] if side else None}
    return parts, {}
