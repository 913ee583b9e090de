"""Maps of classes: the output of a segmentation network and the cells of a region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, TargetError, UnknownName
from ..graph.model import Model
from ..inspect.answer import behind
from ..inspect.receptive_field import spatial_axes
from ..inspect.score_functions import as_scores, score_function
from ..inspect.signature import image_input
from ..preprocess.find import find_hints
from .resolved import Place


@dataclass(frozen=True)
class DenseOutput:
    """A value with a score for every class and place.

    axis: of the classes. axes: of height and width. least: the score from which a single class is there: the decision
    threshold, as a logit or as a probability.
    """

    value: str
    axis: int
    axes: tuple[int, int]
    least: float


def dense_output(model: Model, name: str | None) -> DenseOutput:
    """The output with a score for every class and place, or what its argmax or comparison reads.

    Raises UnknownName, TargetError.
    """
    names = [v.name for v in model.outputs]
    hints = find_hints(model)
    name = name or hints.output
    if name is not None and name not in model.values:
        raise UnknownName("output", name, names)
    try:
        image = image_input(model)
        places = spatial_axes(model, image.name, image.axes)
    except ModelError:
        places = {}
    for output in [name] if name is not None else names:
        candidate, _, compared = behind(model, output)
        value = model.value(candidate)
        if value.rank != 4 or value.dtype is None or value.dtype.kind != "f":
            continue
        axes = tuple(places.get(candidate) or (2, 3))
        channel = [a for a in (1, 2, 3) if a not in axes]
        small = value.shape is not None and all(value.shape[a] == 1 for a in axes)
        if len(channel) == 1 and not small:
            scores = hints.scores or as_scores(score_function(model, candidate))
            return DenseOutput(candidate, channel[0], (axes[0], axes[1]), _least(scores, compared, hints.threshold))
    listed = "; ".join(str(v) for v in model.outputs)
    raise TargetError(
        f"no output has a score for every class and place ({listed}): name one with output=, or use element:"
    )


def _least(scores: str, compared: float | None, threshold: float | None) -> float:
    """The least score of a class that is there: as the graph compares it, or as the decision threshold says."""
    if threshold is None and compared is not None:
        return compared
    p = 0.5 if threshold is None else threshold
    return {"probabilities": p, "log-probabilities": math.log(p)}.get(scores, math.log(p / (1 - p)))


def region_cells(
    place: Place,
    y: NDArray[Any],
    chosen: int,
    least: float,
    box: tuple[float, ...] | None,
    mask: NDArray[Any] | None,
) -> NDArray[np.bool_]:
    """The cells (N, h, w) of dense scores y: (N, C, h, w) that are in the region. Raises TargetError where none are."""
    count, _, height, width = y.shape
    cells = np.zeros((count, height, width), bool)
    if box is None and mask is None:
        cells = (y.argmax(axis=1) == chosen) if y.shape[1] > 1 else y[:, 0] > least
        for winners, maps in zip(cells, y, strict=True):
            if not winners.any():
                if len(maps) == 1:
                    raise TargetError(
                        f"no score is above {least:.3g} (the greatest is {maps.max():.3g}): give a box or a mask, or a "
                        "lower decision_threshold="
                    )
                present = np.unique(maps.argmax(axis=0))[:8].tolist()
                raise TargetError(f"class {chosen} wins nowhere (classes that do: {present}): give a box or a mask")
        return cells
    if mask is not None and mask.shape == (height, width):
        cells[:] = mask.astype(bool)
    else:
        for row in range(count):
            cells[row] = _cells_on_image(place, row, height, width, box, mask)
    if not cells.any(axis=(1, 2)).all():
        what = f"the box {[f'{e:g}' for e in box]}" if box is not None else "the mask"
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
