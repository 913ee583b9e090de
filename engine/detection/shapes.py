"""Masks and points of a detector's candidates: nodes that make them, and what they are on an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from .layout import Layout
from .nodes import FLOAT, PREFIX, Nodes

if TYPE_CHECKING:
    from ..preprocess.geometry import Geometry

# (N, A, K) coefficients and (N, K, h, w) prototypes of masks, or (N, A, h, w) the masks themselves, as logits;
# (N, A, P * numbers) points: x and y in pixels of the plane, the third number a logit.
COEFFICIENTS, PROTOTYPES, MAPS, POINTS = (
    f"{PREFIX}/{name}" for name in ("coefficients", "prototypes", "maps", "points")
)
# (N, R, h, w): the logits of the masks of R candidates.
MASKS = f"{PREFIX}/masks"

# The points of a person in COCO (T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014).
PERSON = tuple(
    """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist
    right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle""".split()
)


def of_shapes(nodes: Nodes, layout: Layout) -> dict[str, str]:
    """What a table has of masks and points: names of `COEFFICIENTS` and so on, and the values that hold them."""
    made = {}
    coefficients = [part.masks for part in layout.parts if part.masks is not None]
    points = [part.points for part in layout.parts if part.points is not None]
    if coefficients and layout.prototypes is not None:
        made[COEFFICIENTS] = nodes.joined([nodes.read(read) for read in coefficients], 1)
        made[PROTOTYPES] = nodes.one("Cast", layout.prototypes, to=FLOAT)
    if layout.maps is not None:
        maps = nodes.read(layout.maps)
        # Torchvision's masks are probabilities, those of queries are logits.
        made[MAPS] = nodes.log_odds(maps) if layout.maps.axes == "A1HW" else maps
    if points and layout.points is not None:
        made[POINTS] = _points(nodes, layout.points, nodes.joined([nodes.read(read) for read in points], 1))
    return made


def _points(nodes: Nodes, points: tuple[int, int], table: str) -> str:
    """The table of points with the logits of the third number in its place."""
    count, numbers = points
    if numbers < 3:
        return table
    shape = nodes.one("Shape", table)
    split = nodes.one("Reshape", table, nodes.ints(0, 0, count, numbers))
    places = nodes.one("Slice", split, nodes.ints(0), nodes.ints(2), nodes.ints(3))
    seen = nodes.log_odds(nodes.one("Slice", split, nodes.ints(2), nodes.ints(3), nodes.ints(3)))
    return nodes.one("Reshape", nodes.one("Concat", places, seen, axis=3), shape)


def extents(nodes: Nodes, maps: str, plane: tuple[int, int]) -> str:
    """(N, A, 4): x0, y0, x1, y1 in pixels of the plane around masks (N, A, h, w), above 0; empty ones have 0."""
    seen = nodes.one("Cast", nodes.one("Greater", maps, nodes.const(0.0)), to=FLOAT)
    ends = []
    for axis, side in ((3, plane[1]), (2, plane[0])):
        line = nodes.one("ReduceMax", seen, nodes.ints(5 - axis), keepdims=0)
        cells = nodes.one("Shape", maps, start=axis, end=axis + 1)
        count = nodes.one("Squeeze", cells)
        places = nodes.one("Range", nodes.const(0, np.int64), count, nodes.const(1, np.int64))
        wide = nodes.one("Cast", cells, to=FLOAT)
        scale = nodes.one("Div", nodes.const([float(side)]), wide)
        after = nodes.one("Mul", line, nodes.one("Add", nodes.one("Cast", places, to=FLOAT), nodes.const(1.0)))
        before = nodes.one("Mul", line, nodes.one("Sub", wide, nodes.one("Cast", places, to=FLOAT)))
        last = nodes.one("ReduceMax", after, nodes.ints(2), keepdims=1)
        first = nodes.one("Sub", wide, nodes.one("ReduceMax", before, nodes.ints(2), keepdims=1))
        first = nodes.one("Min", first, last)
        ends.append((nodes.one("Mul", first, scale), nodes.one("Mul", last, scale)))
    (x0, x1), (y0, y1) = ends
    return nodes.one("Concat", x0, y0, x1, y1, axis=2)


def with_masks(nodes: Nodes, names: Sequence[str], candidates: Sequence[int]) -> None:
    """Write `MASKS`: the masks of candidates, given which values the table has."""
    index = nodes.const(candidates, np.int64)
    if MAPS in names:
        nodes.writer.node("Gather", [MAPS, index], [MASKS], axis=1)
        return
    rows = nodes.one("Gather", COEFFICIENTS, index, axis=1)
    flat = nodes.one("Reshape", PROTOTYPES, nodes.ints(0, 0, -1))
    sizes = nodes.one("Shape", PROTOTYPES, start=2, end=4)
    masks = nodes.one("MatMul", rows, flat)
    shape = nodes.one("Concat", nodes.ints(0, len(candidates)), sizes, axis=0)
    nodes.writer.node("Reshape", [masks, shape], [MASKS])


def masks_of(values: Mapping[str, NDArray[Any]], sample: int, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """(R, h, w): the logits of the masks of candidates of a sample, None where a table has no masks."""
    if MAPS in values:
        return np.asarray(values[MAPS][sample][rows], np.float32)
    if COEFFICIENTS not in values:
        return None
    prototypes = values[PROTOTYPES][sample]
    flat = values[COEFFICIENTS][sample][rows] @ prototypes.reshape(len(prototypes), -1)
    return np.asarray(flat.reshape(-1, *prototypes.shape[1:]), np.float32)


def points_of(
    values: Mapping[str, NDArray[Any]], sample: int, rows: NDArray[np.int64], points: tuple[int, int] | None
) -> NDArray[np.float32] | None:
    """(R, P, 3): y, x in pixels of the plane and the probability to be seen, NaN where there is none."""
    if POINTS not in values or points is None:
        return None
    count, numbers = points
    table = np.asarray(values[POINTS][sample][rows], np.float64).reshape(-1, count, numbers)
    seen = 1 / (1 + np.exp(-table[..., 2])) if numbers == 3 else np.full(table.shape[:2], np.nan)
    return np.stack([table[..., 1], table[..., 0], seen], axis=-1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Mask:
    """The mask of one box. logits: float32 (h, w) over the plane. box: (y0, x0, y1, x1) in pixels of the image."""

    logits: NDArray[np.float32]
    box: tuple[float, float, float, float]
    plane: tuple[int, int]
    geometry: Geometry | None = None

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """(H, W) of the original image, of the plane where there is no image: what is above 0, within the box."""
        height, width = self.plane if self.geometry is None else self.geometry.original
        found = np.zeros((height, width), np.bool_)
        y0, y1 = (int(np.clip(edge, 0, height)) for edge in (np.floor(self.box[0]), np.ceil(self.box[2])))
        x0, x1 = (int(np.clip(edge, 0, width)) for edge in (np.floor(self.box[1]), np.ceil(self.box[3])))
        if y1 <= y0 or x1 <= x0:
            return found
        if self.geometry is None:
            rows = resize(self.logits, self.plane, "bilinear")[y0:y1]
        else:
            rows = self.geometry.to_image(self.logits, rows=(y0, y1))
        found[y0:y1, x0:x1] = rows[:, x0:x1] > 0
        return found

    def cells(self) -> NDArray[np.bool_]:
        """(h, w): the places of the logits that are above 0 and within the box; the whole box where none is."""
        corners = np.asarray(self.box, np.float64).reshape(2, 2)
        if self.geometry is not None:
            corners = self.geometry.to_model(corners)
        scale = np.divide(self.logits.shape, self.plane)
        (y0, x0), (y1, x1) = corners * scale
        inside = np.zeros(self.logits.shape, np.bool_)
        y0, x0 = (max(0, min(int(e), n - 1)) for e, n in zip((y0, x0), self.logits.shape, strict=True))
        inside[y0 : max(y0 + 1, int(np.ceil(y1))), x0 : max(x0 + 1, int(np.ceil(x1)))] = True
        above = inside & (self.logits > 0)
        return above if above.any() else inside


def point_names(count: int) -> tuple[str, ...]:
    """The names of a pose's points: those of a person in COCO where there are 17, else their numbers."""
    return PERSON if count == len(PERSON) else tuple(map(str, range(count)))
