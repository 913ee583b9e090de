"""Maps of classes and of numbers: the output of a segmentation network and the cells of a region."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, TargetError, UnknownName
from ..graph.model import Model
from ..inspect.answer import behind
from ..inspect.batch_axis import value_has_batch
from ..inspect.receptive_field import spatial_axes
from ..inspect.score_functions import as_scores, score_function
from ..inspect.signature import image_input
from ..preprocess.find import find_hints
from ..proto.values import Value
from .resolved import Place

if TYPE_CHECKING:
    from .kinds.region import Region


# The band along an edge reaches one pixel to either side.
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


@dataclass(frozen=True)
class DenseOutput:
    """A value with a score for every class and place.

    axis: of the classes, None where there is one score for each place. axes: of height and width. Both are counted with
    an axis of samples in front, be it that the model has none. least: the score from which a single class is there: the
    decision threshold, as a logit or as a probability. reason: why this output.
    """

    value: str
    axis: int | None
    axes: tuple[int, int]
    least: float
    reason: str = ""

    def maps(self, y: NDArray[Any]) -> NDArray[Any]:
        """(N, ...) -> a view (N, C, h, w)."""
        if self.axis is None:
            return np.moveaxis(y, self.axes, (1, 2))[:, None]
        return np.moveaxis(y, (self.axis, *self.axes), (1, 2, 3))


def dense_output(model: Model, name: str | None) -> DenseOutput:
    """The output with a score for every class and place, or what its argmax or comparison reads.

    Raises UnknownName, TargetError.
    """
    names = [v.name for v in model.outputs]
    hints = find_hints(model)
    name = name or hints.output
    if name is not None and name not in model.values:
        raise UnknownName("output", name, names)
    places = _places(model)
    for output in [name] if name is not None else names:
        candidate, _, compared = behind(model, output)
        value = model.value(candidate)
        if value.rank is None or value.dtype is None or value.dtype.kind != "f":
            continue
        axes = places.get(candidate) or _axes_by_size(model, value)
        batch = _has_batch(model, candidate)
        rank = value.rank + (not batch)
        if rank not in (3, 4) or axes is None or len(axes) != 2 or (batch and 0 in axes):
            continue
        small = value.shape is not None and all(value.shape[a] == 1 for a in axes)
        axes = axes if batch else (axes[0] + 1, axes[1] + 1)
        channel = [a for a in range(1, rank) if a not in axes]
        if len(channel) <= 1 and not small:
            scores = hints.scores or as_scores(score_function(model, candidate))
            reason = f"{output!r} is a map: " + ("named" if name is not None else "the first output that is one")
            place = channel[0] if channel else None
            return DenseOutput(candidate, place, (axes[0], axes[1]), _least(scores, compared, hints.threshold), reason)
    listed = "; ".join(str(v) for v in model.outputs)
    raise TargetError(
        f"no output has a score for every class and place ({listed}): name one with output=, or use element:"
    )


def is_dense(model: Model) -> bool:
    """Whether an output has a score for every place of the image."""
    try:
        dense_output(model, None)
    except TargetError:
        return False
    return True


def map_axes(model: Model, name: str) -> tuple[int, int]:
    """The axes of height and width in a value with samples in front, be it that the model has none.

    Raises TargetError where it is no map of the image.
    """
    axes = _places(model).get(name) or _axes_by_size(model, model.value(name))
    if axes is None or len(axes) != 2:
        raise TargetError(f"the value {name!r} is not a map of the image: leave the box out")
    return (axes[0], axes[1]) if _has_batch(model, name) else (axes[0] + 1, axes[1] + 1)


def _has_batch(model: Model, name: str) -> bool:
    try:
        image = image_input(model)
    except ModelError:
        return True
    return "N" in image.layout and value_has_batch(model, name, image.name)


def _axes_by_size(model: Model, value: Value) -> tuple[int, int] | None:
    """Where a map lies in a value whose axes cannot be followed: the last ones, if its sides are those of the image."""
    if value.rank == 4:
        return 2, 3
    try:
        height, width = image_input(model).size
    except ModelError:
        return None
    if value.rank not in (2, 3) or value.shape is None or height is None or width is None:
        return None
    if value.rank == 2 and _has_batch(model, value.name):
        return None
    h, w = value.shape[-2:]
    alike = isinstance(h, int) and isinstance(w, int) and h > 1 and h * width == w * height
    return (value.rank - 2, value.rank - 1) if alike else None


def _places(model: Model) -> Mapping[str, tuple[int, ...]]:
    try:
        image = image_input(model)
        return spatial_axes(model, image.name, image.axes)
    except ModelError:
        return {}


def _least(scores: str, compared: float | None, threshold: float | None) -> float:
    """The least score of a class that is there: as the graph compares it, or as the decision threshold says."""
    if threshold is None and compared is not None:
        return compared
    p = 0.5 if threshold is None else threshold
    return {"probabilities": p, "log-probabilities": math.log(p)}.get(scores, math.log(p / (1 - p)))


def check_cells(scores: NDArray[Any]) -> None:
    """Raise TargetError for one sample's scores (C, h, w) without a class or a place."""
    if not scores.size:
        raise TargetError(f"there is no region in a map of shape {list(scores.shape)}: it has no class or no place")


def region_cells(
    place: Place, row: int, scores: NDArray[Any], chosen: int, least: float, region: Region
) -> NDArray[np.bool_]:
    """The cells (h, w) of one sample's scores (C, h, w) that are in a region. Raises TargetError where none are."""
    check_cells(scores)
    if region.box is not None or region.mask is not None:
        return _boxed(place, row, scores.shape[1:], region.box, region.mask)
    cells = np.asarray((scores.argmax(axis=0) == chosen) if len(scores) > 1 else scores[0] > least)
    if not cells.any():
        if len(scores) == 1:
            raise TargetError(
                f"no score is above {least:.3g} (the greatest is {scores.max():.3g}): give a box or a mask, or a "
                "lower decision_threshold="
            )
        present = np.unique(scores.argmax(axis=0))[:8].tolist()
        raise TargetError(f"class {chosen} wins nowhere (classes that do: {present}): give a box or a mask")
    if isinstance(region.part, str):
        return _edge(cells, chosen)
    return cells if region.part is None else _component(cells, region.part, chosen)


def _edge(cells: NDArray[np.bool_], chosen: int) -> NDArray[np.bool_]:
    """The cells at either side of the boundary."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(cells, _CROSS, border_value=1)
    band = ndimage.binary_dilation(cells, _CROSS) & ~inner
    if not band.any():
        raise TargetError(f"class {chosen} wins everywhere: it has no boundary")
    return np.asarray(band)


def _component(cells: NDArray[np.bool_], number: int, chosen: int) -> NDArray[np.bool_]:
    """The `number`-th largest connected component; of equal ones the upper first."""
    from scipy import ndimage

    labels, count = ndimage.label(cells)
    if number > count:
        raise TargetError(f"class {chosen} wins in {count} connected components: there is no component {number}")
    areas = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == 1 + np.argsort(-areas, kind="stable")[number - 1])


def box_cells(
    place: Place,
    size: tuple[int, ...],
    count: int,
    box: tuple[float, ...] | None,
    mask: NDArray[Any] | None,
) -> NDArray[np.bool_]:
    """The cells (N, h, w) of maps of that size that lie in a box or mask. Raises TargetError where none do."""
    return np.stack([_boxed(place, row, size, box, mask) for row in range(count)])


def _boxed(
    place: Place, row: int, size: tuple[int, ...], box: tuple[float, ...] | None, mask: NDArray[Any] | None
) -> NDArray[np.bool_]:
    height, width = size
    if mask is not None and mask.shape == (height, width):
        cells = mask.astype(bool)
    else:
        cells = _cells_on_image(place, row, height, width, box, mask)
    if not cells.any():
        what = f"the box {','.join(f'{e:g}' for e in box)}" if box is not None else "the mask"
        raise TargetError(f"{what} covers no cell of the output's {height}x{width}: it lies outside or is too small")
    return cells


def _cells_on_image(
    place: Place, row: int, height: int, width: int, box: tuple[float, ...] | None, mask: NDArray[Any] | None
) -> NDArray[np.bool_]:
    plane = place.plane or (height, width)
    ys, xs = (np.arange(height) + 0.5) / height * plane[0], (np.arange(width) + 0.5) / width * plane[1]
    points = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1)
    size = plane
    if place.geometries is not None:
        geometry = place.geometries[row]
        points, size = geometry.to_original(points), geometry.original
    if box is not None:
        y0, x0, y1, x1 = box
        return np.asarray((points >= (y0, x0)).all(axis=-1) & (points < (y1, x1)).all(axis=-1))
    assert mask is not None
    if mask.shape != tuple(size):
        raise TargetError(f"the mask of shape {list(mask.shape)} fits neither the image ({list(size)}) nor the output")
    at = np.floor(points).astype(int)
    seen = (at >= 0).all(axis=-1) & (at < size).all(axis=-1)
    at = np.clip(at, 0, np.subtract(size, 1))
    return np.asarray(seen & mask.astype(bool)[at[..., 0], at[..., 1]])
