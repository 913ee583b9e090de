"""How the candidates of a detector are read from the values of its graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# How a value's axes become (batch, candidates, columns). N: batch, A: candidates, K: columns, H and W: places, a: the
# anchors of a place. In NKHW and NHWK the columns of all anchors of a place follow one another.
# NAHW, A1HW: a map for each candidate. APK: K numbers of each of P points.
Axes = Literal["NAK", "NKA", "NA", "AK", "A", "NKHW", "NHWK", "NaHWK", "NAHW", "A1HW", "APK"]
# xyxy, yxyx: two corners. cxcywh: centre and size. xywh: first corner and size. distances: of the four sides from the
# centre of the place, in strides. pixels: the same in pixels. bins: the same, each as a distribution over whole numbers
# (generalised focal loss). yolox: offset and logarithm of the size, in strides. anchors: sigmoids on anchor boxes
# (YOLOv5). centre: offset in the place and size, in strides (CenterNet). centerface: the same from the middle of the
# place, y before x, sizes as logarithms. masks: around what is above 0 in a mask of the candidate, where a model has no
# boxes.
Form = Literal[
    "xyxy", "yxyx", "cxcywh", "xywh", "distances", "pixels", "bins", "yolox", "anchors", "centre", "centerface", "masks"
]  # fmt: skip
FORMS: tuple[str, ...] = Form.__args__  # type: ignore[attr-defined]
# What makes probabilities of the scores: nothing is needed, or this.
Activation = Literal["", "sigmoid", "softmax"]


@dataclass(frozen=True)
class Read:
    """A value, and how it becomes (N, A, columns).

    anchors: of a place, where the value has places. columns: first and one behind the last, None for all of them.
    """

    value: str
    axes: Axes = "NAK"
    anchors: int = 1
    columns: tuple[int, int] | None = None


@dataclass(frozen=True)
class Grid:
    """The places that candidates belong to: `cells` (rows, columns), `stride` in pixels, `anchors` of a place.

    outer: whether all places of the first anchor come before those of the second. sizes: (height, width) of each anchor
    box in pixels. corner: whether a place's point is its first corner rather than its centre.
    """

    cells: tuple[int, int]
    stride: float
    anchors: int = 1
    outer: bool = False
    sizes: tuple[tuple[float, float], ...] = ()
    corner: bool = False

    @property
    def count(self) -> int:
        return self.cells[0] * self.cells[1] * self.anchors


@dataclass(frozen=True)
class Part:
    """Some of the candidates: a level of the pyramid, or all of them.

    scores: one column for each class. boxes: four columns, or more in bins. objectness: one column. labels: one column
    with the number of the class, where `scores` has only that of the best one. grid: None where places are unknown.
    width: how many columns of `scores` belong to one anchor. offsets: of the centre in its place (CenterNet). masks:
    how much of each prototype is in the mask of a candidate. points: those of a pose, one after another.
    """

    scores: Read
    boxes: Read
    objectness: Read | None = None
    labels: Read | None = None
    grid: Grid | None = None
    width: int | None = None
    offsets: Read | None = None
    masks: Read | None = None
    points: Read | None = None


@dataclass(frozen=True)
class Layout:
    """How the candidates of a detector are read.

    form, relative: of the boxes; relative to the plane's sides rather than in pixels. activation: what makes
    probabilities of scores (and objectness). background: the class that is none. final: they are what is left after
    overlapping boxes were suppressed. overlap, least: the intersection over union and the probability that the graph
    itself selects by. most: how many boxes of a class the graph leaves. rule: what found it. reasons: why, decision by
    decision. root: whether the probability is the square root of score times objectness (FCOS). grids: the places, one
    after another, of a table in one part. prototypes: the value (N, K, h, w) whose sum, weighted by a candidate's
    coefficients, is its mask. maps: the value with a mask for each candidate, in place of these. points: how many a
    pose has, and how many numbers each: x, y and, of three, how sure it is that the point is seen.
    """

    rule: str
    parts: tuple[Part, ...]
    form: Form
    relative: bool = False
    activation: Activation = ""
    background: int | None = None
    final: bool = False
    overlap: float | None = None
    least: float | None = None
    most: int | None = None
    root: bool = False
    peaks: bool = False
    grids: tuple[Grid, ...] = ()
    prototypes: str | None = None
    maps: Read | None = None
    points: tuple[int, int] | None = None
    reasons: tuple[str, ...] = field(default=())
