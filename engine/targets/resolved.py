"""What a target is in a given model: a value of the graph, and the cotangent on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from ..graph.model import Model

if TYPE_CHECKING:
    from ..preprocess.geometry import Geometry
    from .target import Target


@dataclass(frozen=True)
class Place:
    """What a target is resolved against.

    `labels` of the classes; `geometries`, one per sample, where the input was an image; `plane`, the (height, width)
    of the input tensor, None where it is no image.
    """

    model: Model
    labels: tuple[str, ...] | None = None
    geometries: tuple[Geometry, ...] | None = None
    plane: tuple[int, int] | None = None


@dataclass(frozen=True)
class Classes:
    """Sums of class scores. `codes` int64 (K, J): class indices, or -r for the r-th most probable class; `weights`
    (K, J).

    `axis` of the classes in rows (N, ...); `scale` is "model" (as the output is), "prob" or "logit".
    """

    axis: int
    codes: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: str

    def row_codes(self, samples: int) -> NDArray[np.int64]:
        """(samples * K, J), sample by sample."""
        return np.tile(self.codes, (samples, 1))

    def row_weights(self, samples: int) -> NDArray[np.float32]:
        return np.tile(self.weights, (samples, 1))


@dataclass(frozen=True)
class Resolved:
    """A target in a model: score(y) = sum(y * cotangent) over the value `of`, for each of K `targets`.

    `model` is the model, with what the target needs added; `fixed` says that the cotangent depends on y's shape only;
    `found` names, per sample, what was chosen by its values.
    """

    model: Model
    of: str
    targets: tuple[Target, ...]
    fixed: bool
    classes: Classes | None = None
    pick: Callable[[NDArray[Any]], NDArray[np.float32]] | None = None
    found: Callable[[NDArray[Any]], list[Target]] | None = None

    @property
    def count(self) -> int:
        """K, the number of targets per sample."""
        return 1 if self.classes is None else len(self.classes.codes)

    def chosen(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """The class indices (N * K, J) that the codes stand for, given the clean values y: (N, ...)."""
        assert self.classes is not None
        scores = np.moveaxis(y, self.classes.axis, -1).reshape(len(y), -1, y.shape[self.classes.axis])[:, 0]
        count = scores.shape[1]
        codes = self.classes.codes
        beyond = codes[(codes >= count) | (codes < -count)]
        if beyond.size:
            worst = int(beyond[0])
            asked = f"class {worst} does not exist" if worst >= 0 else f"there is no class of rank {-worst}"
            raise TargetError(f"{asked}: the output {self.of!r} has classes 0 to {count - 1}")
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
        rows = np.repeat(np.arange(len(y)), len(codes))
        tiled = self.classes.row_codes(len(y))
        found: NDArray[np.int64] = np.where(tiled >= 0, tiled, order[rows[:, None], np.maximum(-tiled - 1, 0)])
        return found

    def cotangents(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """(N * K, ...) for the clean values y: (N, ...), sample by sample. Raises TargetError."""
        if self.pick is not None:
            picked = self.pick(y)
            return picked.reshape(-1, *picked.shape[2:])
        assert self.classes is not None
        chosen, weights = self.chosen(y), self.classes.row_weights(len(y))
        result = np.zeros((len(chosen), *y.shape[1:]), np.float32)
        by_class = np.moveaxis(result, self.classes.axis, 1)
        for row, (classes, factors) in enumerate(zip(chosen, weights, strict=True)):
            np.add.at(by_class[row], classes, factors.reshape(-1, *[1] * (by_class.ndim - 2)))
        return result


def score(
    y: NDArray[Any], cotangents: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """sum(y * cotangent) per row, in float64; elements whose cotangent is 0 do not count, even if they are infinite.

    y: (R, ...). cotangents: (R, ...), or those of the rows `rows` (R,) among them. Returns (R,).
    """
    rows = np.arange(len(y)) if rows is None else rows
    flat, weights = y.reshape(len(y), -1), cotangents.reshape(len(cotangents), -1)
    total = np.empty(len(y), np.float64)
    for row in np.unique(rows):
        mine = np.flatnonzero(rows == row)
        used = np.flatnonzero(weights[row])
        # Row by row, so that the result does not depend on which rows are computed together.
        total[mine] = (flat[mine[:, None], used].astype(np.float64) * weights[row, used]).sum(axis=1)
    return total
