"""Boxes of a detector as targets: which one is meant, and the element of the table of candidates that is explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..detection.detections import OVERLAP, Detection, Detections, found_in
from ..detection.emit import LABELS, LOGITS, OBJECTNESS, SCORES, SIDES
from ..detection.nodes import Nodes
from ..detection.plugins import check_plugins
from ..detection.shapes import MASKS, POINTS, point_names, with_masks
from ..detection.suppress import overlaps
from ..detection.table import Table, is_detector, table_of
from ..emitter.emitter import Emitter
from ..errors import ModelError, OnnxrayError, TargetError, UnknownName, nearest
from ..graph.model import Model
from ..preprocess.answers import answer_of
from ..preprocess.find import find_detector
from ..proto.writer import Writer
from .appended import appended
from .reading import recognised_output
from .resolved import FixedTarget, Place

# A box that is asked for by its corners has at least this overlap with the one that is meant.
LEAST_OVERLAP = 0.3
# Outputs that are more than one kind of answer: levels of a pyramid.
_LEVELS = 6
_FLOAT = 1  # ONNX's number of float32
_NEVER = -1e30
# A graph has a step of suppression for each box that is more certain.
_MOST_RANKED = 20
# What of a box's sides is explained: its columns of x0, y0, x1, y1 and their signs.
PARTS = {"x1": {0: 1}, "y1": {1: 1}, "x2": {2: 1}, "y2": {3: 1}, "w": {2: 1, 0: -1}, "h": {3: 1, 1: -1}}
# The numbers of a point in the table, by what is asked for; None is how sure it is that the point is seen.
_COORDINATES: dict[str | None, int] = {"x": 0, "y": 1, None: 2}


@dataclass(frozen=True)
class Asked:
    """Which box: the `rank`-th of the class `label` (of any for None), the one at a point or most like `edges`."""

    rank: int = 1
    label: str | int | None = None
    at: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Aspect:
    """What of a box: its score, or one of its sides, its objectness, its mask, or a point (`side` "x" or "y" of it)."""

    side: str | None = None
    objectness: bool = False
    mask: bool = False
    keypoint: str | int | None = None

    def __post_init__(self) -> None:
        sides = ("x", "y") if self.keypoint is not None else tuple(PARTS)
        if self.side is not None and self.side not in sides:
            of = "point" if self.keypoint is not None else "box"
            raise TargetError(f"the side {self.side!r} of a {of} is none of {', '.join(sides)}")
        asked = [self.keypoint is not None, self.mask, self.objectness, self.side is not None and self.keypoint is None]
        if sum(asked) > 1:
            raise TargetError("a box is explained by a side, its objectness, its mask or a point, by one of them")

    @property
    def is_score(self) -> bool:
        return self == Aspect()

    def __str__(self) -> str:
        """As it stands behind the box in a target's text."""
        if self.keypoint is not None:
            return f":point:{self.keypoint}" + (f":{self.side}" if self.side else "")
        return f":side={self.side}" if self.side else ":objectness" if self.objectness else ":mask" * self.mask

    @property
    def title(self) -> str:
        """In front of the box's name, with "of"."""
        if self.keypoint is not None:
            point = f"point {self.keypoint}" if isinstance(self.keypoint, int) else self.keypoint
            return f"{self.side} of {point} of " if self.side else f"{point} of "
        words = "mask" if self.mask else "objectness" if self.objectness else self.side
        return f"{words} of " if words else ""


@dataclass(frozen=True)
class Ranked:
    """A box that a graph chooses: the `rank`-th of a class (a number; of any for None) behind the suppression.

    overlap: the intersection over union from which less certain boxes of a class are left out.
    """

    table: Table
    rank: int = 1
    label: int | None = None
    overlap: float = OVERLAP


@dataclass(frozen=True)
class BoxTarget(FixedTarget):
    """Boxes of a detector: `candidates` are their rows in the `table`, sample by sample, none without an image.

    ranked: which box a graph chooses; None where an image decides.
    """

    table: Table = None  # type: ignore[assignment]  # always given
    candidates: tuple[int, ...] = ()
    ranked: Ranked | None = None


def table_in(place: Place) -> Table:
    """The table of candidates. Raises TargetError where the model is no detector."""
    try:
        return table_of(place.model, place.plane)
    except ModelError as error:
        raise TargetError(f"there is no box to explain: {error}") from None


def answers_with_boxes(model: Model) -> bool:
    """Whether the model is a detector; its outputs are looked at first, as the rules take a run of the model.

    Raises ModelError where it suppresses boxes by a plugin of TensorRT.
    """
    check_plugins(model)
    if recognised_output(model) is not None:  # the steps of a line look like candidates
        return False
    try:
        answer = answer_of(model)
    except OnnxrayError:
        return False
    shapes = [v.shape for v in model.outputs if v.shape is not None and v.dtype is not None and v.dtype.kind == "f"]
    tables = any(len(shape) in (3, 5) for shape in shapes) and answer.kind in ("map", "boxes")
    maps = [shape for shape in shapes if len(shape) == 4]
    sizes = len(maps) in (2, 3, 4) and any(shape[1] == 2 for shape in maps)
    return (tables or sizes or answer.kind == "boxes" or len(shapes) >= _LEVELS) and is_detector(model)


def boxes_in(place: Place, table: Table) -> list[Detections]:
    """The boxes of every sample. Raises TargetError where there are no samples yet."""
    if place.run is None:
        raise TargetError("a box is found in an image, and there is none here: give an image")
    # With what will be explained: no run is needed for that later.
    names = [SCORES, SIDES, LOGITS, *([LABELS] if table.has_labels else []), *table.shapes]
    values = place.run(table.model, names)
    hints = find_detector(place.model)
    return [
        found_in(
            table,
            values,
            sample,
            geometry=None if place.geometries is None else place.geometries[sample],
            names=place.labels,
            score=hints.get("threshold"),
            overlap=hints.get("nms"),
        )
        for sample in range(len(values[SIDES]))
    ]


def chosen(found: Detections, asked: Asked, labels: Sequence[str] | None) -> int:
    """The number of the box that is meant. Raises TargetError that says the nearest one, UnknownName for a class."""
    if not len(found):
        raise TargetError(
            f"no box is certain enough: the best candidate has a probability of {found.best:.3g}; lower the threshold "
            "with detector={'threshold': P}"
        )
    if asked.at is not None:
        return _at(found, asked.at)
    of_class = range(len(found))
    if asked.label is not None:
        wanted = asked.label
        of_class = [i for i in of_class if wanted in (int(found.labels[i]), found.names[i])]  # type: ignore[assignment]
        if not of_class:
            raise _no_class(found, wanted, labels)
    if asked.edges is not None:
        return _like(found, asked.edges, list(of_class))
    if asked.rank > len(of_class):
        raise TargetError(
            f"there is no box {asked.rank}: the image has {len(of_class)} of at least the threshold"
            + (f" of class {asked.label!r}" if asked.label is not None else "")
        )
    return of_class[asked.rank - 1]


def check_label(label: str | int | None, labels: Sequence[str] | None) -> None:
    """Raises TargetError, UnknownName for a class that no box can have."""
    if not isinstance(label, str):
        return
    if labels is None:
        raise TargetError(
            f"the class {label!r} cannot be looked up, the model has no labels: say its number (box:class=3) or labels="
        )
    if label not in labels:
        raise UnknownName("label", label, list(labels))


def _no_class(found: Detections, wanted: str | int, labels: Sequence[str] | None) -> TargetError:
    there = ", ".join(dict.fromkeys(d.title for d in found))
    close = nearest(str(wanted), list(labels or ()))
    hint = f"; nearest labels: {', '.join(map(repr, close))}" if close and wanted not in (labels or ()) else ""
    return TargetError(f"there is no box of class {wanted!r}; the image has {there}{hint}")


def _at(found: Detections, at: tuple[float, float]) -> int:
    """The smallest box around a point (y, x)."""
    y, x = at
    boxes = found.boxes.astype(np.float64)
    inside = (boxes[:, 0] <= y) & (y <= boxes[:, 2]) & (boxes[:, 1] <= x) & (x <= boxes[:, 3])
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    if inside.any():
        return int(np.flatnonzero(inside)[np.argmin(sizes[inside])])
    far = np.hypot((boxes[:, 0] + boxes[:, 2]) / 2 - y, (boxes[:, 1] + boxes[:, 3]) / 2 - x)
    raise TargetError(f"no box is at {y:g},{x:g}: the nearest one is {_told(found[int(np.argmin(far))])}")


def _like(found: Detections, edges: tuple[float, ...], of_class: list[int]) -> int:
    """The box with the greatest overlap."""
    shared = overlaps(np.array([edges]), found.boxes[of_class])[0]
    best = int(np.argmax(shared))
    if shared[best] < LEAST_OVERLAP:
        raise TargetError(
            f"no box overlaps {','.join(f'{e:g}' for e in edges)} by {LEAST_OVERLAP} or more: the nearest one is "
            f"{_told(found[of_class[best]])} ({shared[best]:.2f})"
        )
    return of_class[best]


def _told(d: Detection) -> str:
    return f"{d.title} at {','.join(f'{edge:.0f}' for edge in d.box)}"


def value_of(table: Table, aspect: Aspect) -> str:
    """The value that is explained. Raises TargetError where the detector has no objectness, masks or points."""
    if aspect.objectness:
        if not table.has_objectness:
            raise TargetError("this detector has no objectness: explain the box without :objectness")
        return OBJECTNESS
    if aspect.mask:
        if not table.has_masks:
            raise TargetError("this detector has no masks: explain the box without :mask")
        return MASKS
    if aspect.keypoint is not None:
        _number(table, aspect)
        return POINTS
    return SIDES if aspect.side else LOGITS


def _number(table: Table, aspect: Aspect) -> int:
    """The column of what is asked of a point. Raises TargetError, UnknownName."""
    if table.layout.points is None:
        raise TargetError("this detector finds no points: explain the box without :point")
    count, numbers = table.layout.points
    names, which = point_names(count), str(aspect.keypoint)
    if which not in names and not (which.isdecimal() and int(which) < count):
        raise UnknownName("point", which, names, f"there are {', '.join(names)}")
    column = _COORDINATES[aspect.side]
    if column >= numbers:
        raise TargetError(
            f"this detector does not say how sure it is of a point: explain point:{which}:x or point:{which}:y"
        )
    return (names.index(which) if which in names else int(which)) * numbers + column


def model_of(table: Table, aspect: Aspect, candidates: Sequence[int]) -> Model:
    """The model that has the value; the masks of candidates are added, as those of all are too many."""
    if not aspect.mask:
        return table.model
    nodes = Nodes(Writer(table.model.values))
    with_masks(nodes, table.shapes, candidates)
    return appended(table.model, nodes.writer, MASKS)


def cotangent(
    shape: tuple[int, ...], table: Table, d: Detection, aspect: Aspect, mask: int | None = None
) -> NDArray[np.float32]:
    """(A, columns): 1 where the box's number stands in the value that is explained; `mask` is its number in `MASKS`,
    where its places share 1."""
    weights = np.zeros(shape, np.float32)
    if aspect.mask:
        assert d.mask is not None
        cells = d.mask.cells()
        weights[mask] = cells / cells.sum()
    elif aspect.is_score:
        weights[d.candidate, 0 if table.has_labels else d.label] = 1
    else:
        for column, sign in _columns(table, aspect).items():
            weights[d.candidate, column] = sign
    return weights


def _columns(table: Table, aspect: Aspect) -> dict[int, int]:
    """The columns of a candidate's row and their signs, for what is no score."""
    if aspect.keypoint is not None:
        return {_number(table, aspect): 1}
    return {0: 1} if aspect.objectness else PARTS[str(aspect.side)]


def ranked(model: Model, table: Table, rank: int, label: int | None) -> Ranked:
    """The `rank`-th box (of a class), as the graph of a compiled model chooses it. Raises TargetError."""
    if rank > _MOST_RANKED:
        raise TargetError(f"a graph chooses among the {_MOST_RANKED} most certain boxes: use explain for box:{rank}")
    given = find_detector(model).get("nms")
    usual = OVERLAP if table.layout.overlap is None else table.layout.overlap
    return Ranked(table, rank, label, usual if given is None else float(given))


def emitted(op: Emitter, which: Ranked, aspect: Aspect) -> str:
    """The cotangent (N, A, columns) of a box, chosen in the graph."""
    if aspect.mask:
        raise TargetError("a graph cannot choose the mask of a box: compile box, or explain box:mask of an image")
    mask, table = _chosen_in_graph(op, which), which.table
    if aspect.is_score:
        return mask
    row = op.ReduceMax(mask, [2], keepdims=1)
    columns = 1 if aspect.objectness else 4
    if aspect.keypoint is not None:
        count, numbers = table.layout.points or (0, 0)
        columns = count * numbers
    signs = np.zeros((1, 1, columns), np.float32)
    for column, sign in _columns(table, aspect).items():
        signs[..., column] = sign
    return op.Mul(row, op.const(signs))


def emitted_box(op: Emitter, which: Ranked | None) -> str:
    """(N, 6), float32: y0, x0, y1, x1 of a box in pixels of the plane, its probability, its class; zeros without one.

    Raises TargetError for None, a box that is found in an image.
    """
    if which is None:
        raise TargetError("a graph chooses a box by its rank (and class): compile box, box:K or box:LABEL:K")
    mask, table = _chosen_in_graph(op, which), which.table
    row = op.ReduceMax(mask, [2], keepdims=1)
    sides = _sides_of(op, row)
    score = op.Unsqueeze(op.ReduceMax(op.Mul(mask, SCORES), [1, 2], keepdims=0), [1])
    if table.has_labels:
        name = _mean_of(op, row, LABELS)
    else:
        name = op.Cast(op.ArgMax(op.ReduceMax(mask, [1], keepdims=0), axis=1, keepdims=1), to=_FLOAT)
    return op.Concat(op.Gather(sides, op.const([1, 0, 3, 2]), axis=1), score, name, axis=1)


def emitted_gate(op: Emitter, which: Ranked, candidates: Sequence[tuple[int, int]]) -> str:
    """(N, 1, 1, 1), float32: 1 where a box is one of the candidates, else 0.

    candidates: ranges, first and one behind the last.
    """
    row = op.ReduceMax(_chosen_in_graph(op, which), [2], keepdims=0)
    parts = [op.Slice(row, op.const([first]), op.const([end]), op.const([1])) for first, end in candidates]
    chosen = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=1)
    return op.Reshape(op.ReduceMax(chosen, [1], keepdims=0), op.const([-1, 1, 1, 1]))


def _chosen_in_graph(op: Emitter, which: Ranked) -> str:
    """(N, A, C), float32: 1 at the score of the box, by greedy suppression as often as there are better boxes.

    0 everywhere where the image has fewer boxes.
    """
    if which.rank == 1 and which.label is None:
        return _most_certain(op, LOGITS)
    never, layout = op.const(np.float32(_NEVER)), which.table.layout
    logits = LOGITS if which.label is None else _of_class(op, which, which.label)
    logits = op.Where(op.Greater(SCORES, 0.0), logits, never)  # what is no peak of a map is no box
    if not which.table.has_labels and layout.overlap is None:  # of one candidate the best class alone
        logits = op.Where(op.Less(SCORES, op.ReduceMax(SCORES, [2], keepdims=1)), never, logits)
    for _ in range(which.rank - 1):
        mask = _most_certain(op, logits)
        left_out = op.Greater(mask, 0.0)
        if not layout.final:
            left_out = op.Or(left_out, _suppressed_by(op, which, mask))
        logits = op.Where(left_out, never, logits)
    return _most_certain(op, logits)


def _suppressed_by(op: Emitter, which: Ranked, mask: str) -> str:
    """(N, A, C), bool: what overlaps the box of a mask by too much and is of its class."""
    row = op.ReduceMax(mask, [2], keepdims=1)
    one = op.Unsqueeze(_sides_of(op, row), [1])
    low, high = (
        kind(op.Slice(value, *ends), op.Slice(SIDES, *ends))
        for kind, value, ends in (
            (op.Max, one, [op.const([0]), op.const([2]), op.const([2])]),
            (op.Min, one, [op.const([2]), op.const([4]), op.const([2])]),
        )
    )
    shared = op.ReduceProd(op.Max(op.Sub(high, low), 0.0), [2], keepdims=1)
    whole = op.Sub(op.Add(_areas(op, one), _areas(op, SIDES)), shared)
    near = op.Greater(shared, op.Mul(whole, float(which.overlap)))
    return op.And(near, op.Greater(op.ReduceMax(mask, [1], keepdims=1), 0.0))


def _areas(op: Emitter, sides: str) -> str:
    """(N, A, 1): of boxes (N, A, 4)."""
    first, last = (op.Slice(sides, op.const([k]), op.const([k + 2]), op.const([2])) for k in (0, 2))
    return op.ReduceProd(op.Max(op.Sub(last, first), 0.0), [2], keepdims=1)


def _sides_of(op: Emitter, row: str) -> str:
    """(N, 4): the sides of the box whose candidate is 1 in `row` (N, A, 1), 0 without one."""
    return _mean_of(op, row, SIDES)


def _mean_of(op: Emitter, row: str, value: str) -> str:
    count = op.Max(op.ReduceSum(row, [1], keepdims=0), 1.0)
    return op.Div(op.ReduceSum(op.Mul(row, value), [1], keepdims=0), count)


def _of_class(op: Emitter, which: Ranked, label: int) -> str:
    """(N, A, C): the scores of a class, all others so low that they are never the most certain ones."""
    if which.table.has_labels:
        mine = op.Equal(op.Round(LABELS), float(label))
        return op.Where(mine, LOGITS, op.const(np.float32(_NEVER)))
    classes = op.shape(LOGITS)[2]
    if not isinstance(classes, int) or not label < classes:
        raise TargetError(f"the boxes of class {label} cannot be chosen in a graph: their scores have no fixed column")
    others = np.full((1, 1, classes), _NEVER, np.float32)
    others[..., label] = 0
    return op.Add(LOGITS, op.const(others))


def _most_certain(op: Emitter, logits: str) -> str:
    """(N, A, C), float32: 1 at the greatest score before the sigmoid; 0 everywhere where no box is left."""
    most = op.ReduceMax(logits, [1, 2], keepdims=1)
    return op.Cast(op.And(op.Equal(logits, most), op.Greater(most, _NEVER / 2)), to=_FLOAT)
