"""A class of a dense output: its mean over a box, over a mask, or where it wins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...emitter.emitter import Emitter
from ...errors import TargetError
from ..classes import class_index
from ..dense import DenseOutput, box_cells, check_cells, dense_output, region_cells
from ..files import no_picture, read_file
from ..in_graph import as_maps, as_value, largest_class, region_mask, share
from ..registry import form, is_number, kind
from ..resolved import FixedTarget, Place, Resolved
from ..target import Target

PREDICTED, BOUNDARY = "predicted", "boundary"


@kind
@dataclass(frozen=True)
class Region(Target):
    """The mean score of a class of a dense output, over a box, a mask, or where the class wins.

    `which` is the class; "predicted" is the one of the largest area that is no background (class 0 is taken for the
    background where it covers most); None is the only channel, else "predicted". `box` is (y0, x0, y1, x1) in pixels of
    the original image (of the tensor, where a tensor was given); `mask` is a boolean array over the image, or over the
    output, `file` where it was read from. `output` names the dense output where there are several. `part`, of where
    the class wins: k for the k-th largest connected component, "boundary" for the band of two pixels along its edge.
    """

    which: int | str | None = None
    box: tuple[float, ...] | None = None
    mask: NDArray[Any] | None = field(default=None, compare=False)
    output: str | None = None
    part: int | str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.box, self.mask, self.part)) > 1:
            raise TargetError("a region has a box or a mask or a part of where the class wins, not two of them")
        if isinstance(self.part, str) and self.part != BOUNDARY:
            raise TargetError(f"the part {self.part!r} of a region is neither a number nor {BOUNDARY!r}")
        if isinstance(self.part, int) and self.part < 1:
            raise TargetError(f"there is no component {self.part} of a region: the largest one is 1")
        check_box(self.box)

    @property
    def of_answer(self) -> bool:
        return True

    def __str__(self) -> str:
        parts = ["region", "" if self.which is None else str(self.which)]
        if self.box is not None:
            parts.append(",".join(f"{edge:g}" for edge in self.box))
        if self.part is not None:
            parts.append(self.part if isinstance(self.part, str) else f"instance:{self.part}")
        if self.file is not None:
            parts.append(self.file)
        text = ":".join(part for part in parts if part)
        return text + (" (mask)" if self.mask is not None and self.file is None else "")

    def opened(self, read: Callable[[str], NDArray[Any]]) -> Target:
        if self.file is None or self.mask is not None:
            return self
        array = read_file(self.file, "the mask", read)
        return replace(self, mask=(array.max(axis=2) if array.ndim == 3 else array) > 0)

    def value_in(self, place: Place) -> str:
        return dense_output(place.model, self.output).value

    def on(self, value: str) -> Target:
        return replace(self, output=value)

    def resolve(self, place: Place) -> Resolved:
        if self.file is not None and self.mask is None:
            return self.opened(no_picture).resolve(place)
        dense = dense_output(place.model, self.output)

        def cotangents(y: NDArray[Any]) -> NDArray[np.float32]:
            maps = dense.maps(y)
            weights = np.zeros(y.shape, np.float32)
            placed = dense.maps(weights)  # a view
            for row, (scores, out) in enumerate(zip(maps, placed, strict=True)):
                chosen = self._class(place, scores, dense)
                cells = region_cells(place, row, scores, chosen, dense.least, self)
                out[chosen][cells] = 1 / cells.sum()
            return weights[:, None]

        def found(y: NDArray[Any]) -> list[Target]:
            maps = dense.maps(y)
            if maps.shape[1] == 1 and self.which is None:
                return [self] * len(y)
            return [replace(self, which=self._class(place, scores, dense)) for scores in maps]

        def emit(op: Emitter, of: str) -> str:
            return self._in_graph(op, of, place, dense)

        constant = (self.box is not None or self.mask is not None) and self.which not in (None, PREDICTED)
        chosen = found if self.which in (None, PREDICTED) else None
        return FixedTarget(place.model, dense.value, self, cotangents, constant, chosen, dense.reason, emit)

    def _in_graph(self, op: Emitter, of: str, place: Place, dense: DenseOutput) -> str:
        """The cotangent, computed from the value `of`; where the class wins nowhere it is zero."""
        if isinstance(self.part, int):
            raise TargetError(
                f"the target {self} is a connected component, which no fixed number of operators finds: compile "
                "region:CLASS, or region:CLASS with a box"
            )
        maps = as_maps(op, of, dense.axis, dense.axes)
        _, count, *size = op.shape(maps)
        if self.which in (None, PREDICTED):
            chosen = largest_class(op, maps)
        else:
            known = count if isinstance(count, int) else None
            chosen = op.const([class_index(self.which, place.labels, known)])
        cells = None
        if self.box is not None or self.mask is not None:
            sides = tuple(side for side in size if isinstance(side, int))
            if len(sides) < len(size):
                raise TargetError(
                    f"the target {self} needs a fixed size of {of!r}: set the input's, or leave the box out"
                )
            cells = box_cells(place, sides, 1, self.box, self.mask)[0]
        mask = region_mask(op, maps, chosen, dense.least, cells, self.part == BOUNDARY)
        return share(op, as_value(op, mask, dense.axis, dense.axes))

    def _class(self, place: Place, scores: NDArray[Any], dense: DenseOutput) -> int:
        """The class that is meant, for one sample's scores (C, h, w)."""
        check_cells(scores)
        if self.which is not None and self.which != PREDICTED:
            return class_index(self.which, place.labels, len(scores))
        if len(scores) == 1:
            return 0
        areas = np.bincount(scores.argmax(axis=0).ravel(), minlength=len(scores))
        if areas.argmax() == 0 and areas[1:].any():
            areas[0] = 0
        return int(areas.argmax())


def check_box(box: tuple[float, ...] | None) -> None:
    """Raises TargetError for a box that is none."""
    if box is not None and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
        raise TargetError(f"the box {list(box)} is none: give (y0, x0, y1, x1) with y0 < y1 and x0 < x1")


def box_of(text: str) -> tuple[str, tuple[float, ...] | None]:
    """A text, and the box that it ends with. Raises ValueError for several numbers that are no box."""
    head, _, tail = text.rpartition(":")
    edges = tail.split(",")
    if len(edges) < 2 or not all(re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", edge) for edge in edges):
        return text, None
    if len(edges) != 4:
        raise ValueError(text)
    return head, tuple(float(edge) for edge in edges)


@form(
    "region",
    "region, region:CLASS, then :Y0,X0,Y1,X1 or :MASK.png or :instance:K or :boundary",
    "a class of a map (segmentation, anomalies): its mean score where it wins, over a box, a mask, its k-th component "
    "or its boundary; without a class the one of the largest area that is not a background",
    bare=True,
)
def _region(text: str) -> Target:
    text, box = box_of(text)
    if box is not None:
        return Region(_which(text), box)
    head, _, tail = text.rpartition(":")
    if tail == BOUNDARY:
        return Region(_which(head), part=BOUNDARY)
    if tail.lower().endswith((".png", ".npy", ".bmp", ".tif", ".tiff", ".gif")):
        return Region(_which(head), file=tail)
    first, _, second = head.rpartition(":")
    if second == "instance":
        return Region(_which(first), part=int(tail))
    return Region(_which(text))


def _which(text: str) -> int | str | None:
    return None if not text else int(text) if is_number(text) else text
