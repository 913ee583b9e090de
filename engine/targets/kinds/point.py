"""A keypoint of a pose: the peak of its heat map.

Heat maps (N, K, h, w) of K keypoints: the score is that of the greatest place of a keypoint's map (B. Xiao, H. Wu and
Y. Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018). Two outputs (N, K, W) and (N, K, H), one
for the columns and one for the rows: the sum of both greatest scores (Y. Li et al., "SimCC: A Simple Coordinate
Classification Perspective for Human Pose Estimation", ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...detection.shapes import PERSON
from ...errors import TargetError, UnknownName
from ...graph.model import Model
from ...proto.values import Value
from ...proto.writer import Writer
from ..appended import appended
from ..classes import class_index, label_of
from ..dense import DenseOutput, dense_output
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target

_BOTH = "onnxray/columns_and_rows"


@dataclass(frozen=True, eq=False)
class Pose:
    """All keypoints of one sample: `points` float64 (K, 3), y, x in pixels of the image as given (of the tensor, where
    one was given) and the score of the peak, their `names`, None without, and the `number` of the explained one."""

    points: NDArray[np.float64]
    names: tuple[str, ...] | None
    number: int


@kind
@dataclass(frozen=True)
class Point(Target):
    """The peak of a keypoint's heat map.

    `which` is its number or its name: one of the model's labels, where there is one for each map, else of COCO's, where
    there are 17 maps. `output` names the heat maps where there are several outputs with places. `pose`: where all
    keypoints of the image are, once this is known.
    """

    which: int | str
    output: str | None = None
    pose: Pose | None = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        return f"point {self.which}" if isinstance(self.which, int) else self.which

    @property
    def of_answer(self) -> bool:
        return self.output is None

    def __str__(self) -> str:
        return f"point:{self.which}"

    def value_in(self, place: Place) -> str:
        if self.output is None and _columns_and_rows(place.model) is not None:
            raise TargetError(f"the target {self} is the sum of two outputs: explain it without logit:")
        return dense_output(place.model, self.output).value

    def on(self, value: str) -> Target:
        return replace(self, output=value)

    def resolve(self, place: Place) -> Resolved:
        pair = _columns_and_rows(place.model) if self.output is None else None
        return self._of_lines(place, *pair) if pair is not None else self._of_maps(place)

    def _of_maps(self, place: Place) -> FixedTarget:
        dense = dense_output(place.model, self.output)
        if dense.axis is None:
            raise TargetError(f"the output {dense.value!r} is one map, not one for each keypoint: explain region")

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros(y.shape, np.float32)
            number = self._number(place, y.shape[dense.axis or 0])
            for scores, out in zip(dense.maps(y)[:, number], dense.maps(weights)[:, number], strict=True):
                out[np.unravel_index(int(scores.argmax()), scores.shape)] = 1
            return weights[:, None]

        def found(y: NDArray[Any]) -> list[Target]:
            maps = dense.maps(y)
            cells = maps.reshape(*maps.shape[:2], -1).argmax(axis=-1)
            places = np.stack(np.unravel_index(cells, maps.shape[2:]), axis=-1)
            return self._posed(place, places, maps.shape[2:], maps.max(axis=(2, 3)))

        return FixedTarget(place.model, dense.value, self, cotangents, False, found, _about(dense))

    def _of_lines(self, place: Place, columns: Value, rows: Value) -> FixedTarget:
        writer = Writer(place.model.values)
        writer.node("Concat", [columns.name, rows.name], [_BOTH], axis=2)
        model = appended(place.model, writer, _BOTH)
        assert columns.shape is not None
        wide = columns.shape[2]

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            weights = np.zeros(y.shape, np.float32)
            number = self._number(place, y.shape[1])
            for scores, out in zip(y[:, number], weights[:, number], strict=True):
                out[int(scores[:wide].argmax())] = 1
                out[int(scores[wide:].argmax()) + wide] = 1  # type: ignore[operator]
            return weights[:, None]

        def found(y: NDArray[Any]) -> list[Target]:
            lines = y[..., wide:], y[..., :wide]
            places = np.stack([line.argmax(axis=-1) for line in lines], axis=-1)
            sizes = tuple(line.shape[-1] for line in lines)
            return self._posed(place, places, sizes, lines[0].max(axis=-1) + lines[1].max(axis=-1))

        reason = f"the columns are scored by {columns.name!r}, the rows by {rows.name!r}"
        return FixedTarget(model, _BOTH, self, cotangents, False, found, reason)

    def _number(self, place: Place, count: int) -> int:
        if isinstance(self.which, int) and not 0 <= self.which < count:
            raise TargetError(f"point {self.which} does not exist: the model has the points 0 to {count - 1}")
        names = _names(place, count)
        if isinstance(self.which, str) and names is None:
            raise TargetError(
                f"the point {self.which!r} cannot be looked up, the model names none of its {count} points: give its "
                "number, or their names with labels=..."
            )
        try:
            return class_index(self.which, names, count)
        except UnknownName:
            raise UnknownName("point", str(self.which), names or (), f"there are {', '.join(names or ())}") from None

    def _posed(
        self, place: Place, cells: NDArray[np.int64], size: tuple[int, ...], scores: NDArray[Any]
    ) -> list[Target]:
        """For every sample, the target with all points. cells: (N, K, 2), row and column of `size`; scores: (N, K)."""
        count = cells.shape[1]
        number, names = self._number(place, count), _names(place, count)
        name = label_of(number, names)
        found: list[Target] = []
        for row in range(len(cells)):
            where = (cells[row] + 0.5) * np.divide(place.plane or size, size)
            if place.geometries is not None:
                where = place.geometries[row].to_original(where)
            points = np.concatenate([where, scores[row].astype(np.float64)[:, None]], axis=1)
            pose = Pose(points, None if names is None else tuple(names), number)
            found.append(replace(self, which=number if name is None else name, pose=pose))
        return found


def _names(place: Place, count: int) -> Sequence[str] | None:
    if place.labels is not None and len(place.labels) == count:
        return place.labels
    return PERSON if count == len(PERSON) else None


def _columns_and_rows(model: Model) -> tuple[Value, Value] | None:
    """The two outputs (N, K, W) and (N, K, H) that score columns and rows apart."""
    found = [v for v in model.outputs if v.rank == 3 and v.dtype is not None and v.dtype.kind == "f"]
    if len(found) != 2 or found[0].shape is None or found[1].shape is None:
        return None
    a, b = found[0].shape, found[1].shape
    fixed = all(isinstance(size, int) and size > 1 for size in (a[1], a[2], b[2]))
    return (found[0], found[1]) if fixed and a[1] == b[1] else None


def _about(dense: DenseOutput) -> str:
    return f"{dense.value!r} has a map for each keypoint"


@form(
    "point",
    "point:NAME or point:NUMBER",
    "the peak of a keypoint's heat map; NAME is one of the labels, or of the 17 keypoints of COCO",
)
def _point(text: str) -> Target:
    if not text:
        raise ValueError(text)
    return Point(int(text) if is_number(text) else text)
