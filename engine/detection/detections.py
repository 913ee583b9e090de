"""The boxes of one image that are left of a detector's candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .emit import LABELS, SCORES, SIDES
from .shapes import Mask, masks_of, point_names, points_of
from .suppress import suppressed
from .table import Table

if TYPE_CHECKING:
    from ..preprocess.geometry import Geometry

SCORE, OVERLAP = 0.25, 0.45
# Boxes of one image, and candidates that are compared with one another.
_MOST, _MOST_COMPARED = 300, 5000


@dataclass(frozen=True)
class Detection:
    """One box: `box` (y0, x0, y1, x1) in pixels of the image, the number of its class and its name, its probability.

    candidate: its row in the table of candidates. element: where its score stands in the graph. level, cell: of the
    pyramid and (row, column) in it, None where these are unknown. mask: of instance segmentation. points: of a pose,
    float32 (P, 3), each y, x in pixels of the image and the probability to be seen (NaN where the model says none).
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str | None
    candidate: int
    element: str
    level: int | None
    cell: tuple[int, int] | None
    mask: Mask | None = field(default=None, compare=False, repr=False)
    points: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """What it is: the name of its class, else its number."""
        return self.name or f"class {self.label}"


@dataclass(frozen=True)
class Detections:
    """The boxes that a detector finds in one image, the most certain first.

    boxes: float32 (K, 4), (y0, x0, y1, x1) in pixels of the original image. scores: float32 (K,), probabilities.
    labels: int64 (K,), numbers of classes. names: of these classes, None where there are no labels. candidates: int64
    (K,), rows of the table of candidates. element, level, cell: see `Detection`. reason: where the table was found and
    what each of its columns means. best: the greatest probability of all candidates, 0 where there are none. masks: of
    instance segmentation, a `Mask` each, whose `pixels` are bool (H, W). points: of poses, float32 (K, P, 3), y, x in
    pixels of the image and the probability to be seen; point_names: of the P points.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str | None, ...]
    candidates: NDArray[np.int64]
    element: tuple[str, ...]
    level: tuple[int | None, ...]
    cell: tuple[tuple[int, int] | None, ...]
    reason: str
    best: float = 0.0
    source: str | None = None
    masks: tuple[Mask, ...] | None = None
    points: NDArray[np.float32] | None = None
    point_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Detection:
        box = tuple(float(edge) for edge in self.boxes[i])
        return Detection(
            box, float(self.scores[i]), int(self.labels[i]), self.names[i], int(self.candidates[i]),  # type: ignore[arg-type]
            self.element[i], self.level[i], self.cell[i], None if self.masks is None else self.masks[i],
            None if self.points is None else self.points[i],
        )  # fmt: skip

    def __repr__(self) -> str:
        found = ", ".join(f"{d.title} {100 * d.score:.1f} % at {[round(e) for e in d.box]}" for d in self)
        return f"<{len(self)} box{'es' * (len(self) != 1)}{': ' if found else ''}{found}>"

    def to_mapping(self) -> list[dict[str, Any]]:
        """JSON-like data: an entry for each box, with the points of a pose; masks are left to who writes files."""
        return [
            {
                "class": d.label, "label": d.name, "score": d.score, "box": list(d.box), "candidate": d.candidate,
                "element": d.element, "level": d.level, "cell": None if d.cell is None else list(d.cell),
                **({} if d.points is None else {"points": self._points(d.points)}),
            }
            for d in self
        ]  # fmt: skip

    def _points(self, points: NDArray[np.float32]) -> list[dict[str, Any]]:
        return [
            {"name": name, "y": float(y), "x": float(x), **({} if np.isnan(seen) else {"score": float(seen)})}
            for name, (y, x, seen) in zip(self.point_names, points, strict=True)
        ]


def found_in(
    table: Table,
    values: Mapping[str, NDArray[Any]],
    sample: int,
    *,
    geometry: Geometry | None = None,
    names: Sequence[str] | None = None,
    score: float | None = None,
    overlap: float | None = None,
    source: str | None = None,
) -> Detections:
    """The boxes of one sample, given the table's values for a batch.

    score: the least probability, by default the graph's own or 0.25. overlap: the intersection over union from which a
    less certain box of the same class is left out, by default the graph's own or 0.45.
    """
    layout = table.layout
    least = score if score is not None else max(layout.least or 0.0, 0.0) or SCORE
    most = overlap if overlap is not None else OVERLAP if layout.overlap is None else layout.overlap
    probabilities, sides = np.asarray(values[SCORES][sample]), np.asarray(values[SIDES][sample])
    probabilities = np.where(np.isfinite(probabilities), probabilities, 0)
    if layout.form == "masks":  # a query whose mask is empty has no box
        probabilities = np.where((sides[:, 2:] > sides[:, :2]).all(axis=1, keepdims=True), probabilities, 0)
    rows, labels = np.nonzero(probabilities >= least)
    if not table.has_labels and layout.overlap is None:
        # Of one candidate the best class alone, as its own packages do it.
        best = probabilities.argmax(axis=1) if len(probabilities) else np.zeros(0, np.int64)
        mine = labels == best[rows]
        rows, labels = rows[mine], labels[mine]
    scores = probabilities[rows, labels]
    if len(rows) > _MOST_COMPARED:
        order = np.argsort(-scores, kind="stable")[:_MOST_COMPARED]
        rows, labels, scores = rows[order], labels[order], scores[order]
    if table.has_labels:
        labels = np.rint(values[LABELS][sample][rows, 0]).astype(np.int64)
    labels = labels.astype(np.int64)
    kept = (
        np.argsort(-scores, kind="stable")
        if layout.final
        else suppressed(sides[rows], scores, labels, most, _MOST_COMPARED if layout.most else _MOST)
    )
    if layout.most is not None:
        kept = _first_of_each(kept, labels, layout.most)
    kept = kept[:_MOST]
    rows, labels, scores = rows[kept], labels[kept], scores[kept]
    boxes = on_image(sides[rows], geometry)
    masks, points = masks_of(values, sample, rows), points_of(values, sample, rows, layout.points)
    if points is not None and geometry is not None:
        points[..., :2] = geometry.to_original(points[..., :2])
    places = [table.place(int(row)) for row in rows]
    called = tuple(_name(int(label), names, layout.background) for label in labels)
    return Detections(
        boxes, scores.astype(np.float32), labels, called, rows.astype(np.int64),
        tuple(table.element(int(r), int(c)) for r, c in zip(rows, labels, strict=True)),
        tuple(level for level, _ in places), tuple(cell for _, cell in places), table.reason,
        float(probabilities.max()) if probabilities.size else 0.0, source,
        None if masks is None else tuple(
            Mask(logits, tuple(map(float, box)), table.plane, geometry)  # type: ignore[arg-type]
            for logits, box in zip(masks, boxes, strict=True)
        ),
        points, () if layout.points is None else point_names(layout.points[0]),
    )  # fmt: skip


def _first_of_each(kept: NDArray[np.int64], labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Of the rows, in their order, at most that many of each class."""
    mine = labels[kept]
    earlier = np.array([np.count_nonzero(mine[:i] == label) for i, label in enumerate(mine)], np.int64)
    return kept[earlier < most]


def on_image(sides: NDArray[np.floating], geometry: Geometry | None) -> NDArray[np.float32]:
    """Boxes (K, 4) x0, y0, x1, y1 on the plane -> (y0, x0, y1, x1) on the original image, within it."""
    corners = np.asarray(sides, np.float64).reshape(-1, 2, 2)[..., ::-1]
    if geometry is not None:
        height, width = geometry.original
        corners = np.clip(geometry.to_original(corners), 0, [height, width])
    return corners.reshape(-1, 4).astype(np.float32)


def _name(label: int, names: Sequence[str] | None, background: int | None) -> str | None:
    """The name of a class; names may count the background, or not."""
    if names is None or not 0 <= label < len(names):
        return None
    return names[label]
