"""What a target is in a given model: a value of the graph, and the cotangent on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from ..graph.model import Model

if TYPE_CHECKING:
    from ..emitter.emitter import Emitter
    from ..preprocess.geometry import Geometry
    from ..text.reading import Reading
    from .target import Target


@dataclass(frozen=True)
class Place:
    """What a target is resolved against.

    `labels` of the classes; `geometries`, one per sample, where the input was an image; `plane`, the (height, width)
    of the input tensor, None where it is no image. `prepare` makes feeds of another picture or tensor: of one
    sample, and those that are the same for all. `samples` is their number, None where there are none yet. `run` gives
    values (N, ...) of a model, the one of `model` with more nodes, for the samples; None where there are none yet.
    `reading` is the text that the sample is.
    """

    model: Model
    labels: tuple[str, ...] | None = None
    geometries: tuple[Geometry, ...] | None = None
    plane: tuple[int, int] | None = None
    prepare: Callable[[NDArray[Any]], tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]] | None = None
    samples: int | None = None
    run: Callable[[Model, Sequence[str]], Mapping[str, NDArray[Any]]] | None = None
    reading: Reading | None = None


@dataclass(frozen=True)
class ClassTarget:
    """Sums of class scores in a model: score(y) = sum(y * cotangent) over the value `of`, for each of K targets.

    `model` is the model, with what the targets need added. `axis` of the classes in rows (N, ...). `codes` int64
    (K, J): class indices, or -r for the r-th most probable class; `weights` float32 (K, J). `scale` is "model" (as the
    output is), "prob" or "logit". `by_sample`: K is 1, and the rows of codes and weights belong to the samples (N, J).
    """

    model: Model
    of: str
    axis: int
    codes: NDArray[np.int64]
    weights: NDArray[np.float32]
    scale: str
    by_sample: bool = False

    @property
    def count(self) -> int:
        """K, the number of targets per sample."""
        return 1 if self.by_sample else len(self.codes)

    @property
    def constant(self) -> bool:
        """Whether the cotangent depends on y's shape only, not on which class is the most probable."""
        return bool((self.codes >= 0).all())

    def row_codes(self, samples: int) -> NDArray[np.int64]:
        """(samples * K, J), sample by sample."""
        return self.codes if self.by_sample else np.tile(self.codes, (samples, 1))

    def row_weights(self, samples: int) -> NDArray[np.float32]:
        """(samples * K, J), sample by sample."""
        return self.weights if self.by_sample else np.tile(self.weights, (samples, 1))

    def by_class(self, y: NDArray[Any]) -> NDArray[Any]:
        """The class scores (N, C) of values y: (N, ...). Raises TargetError where y lacks the axis of the classes."""
        if y.ndim <= self.axis:
            raise TargetError(
                f"the value {self.of!r} of shape {list(y.shape)} has no axis {self.axis} to find classes along: name "
                "another output, or a target such as element:NAME:INDEX"
            )
        return np.moveaxis(y, self.axis, -1).reshape(len(y), -1, y.shape[self.axis])[:, 0]

    def chosen(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """The class indices (N * K, J) that the codes stand for, given the clean values y: (N, ...).

        Raises TargetError for a class that the output does not have.
        """
        scores = self.by_class(y)
        count = scores.shape[1]
        codes = self.codes
        beyond = codes[(codes >= count) | (codes < -count)]
        if beyond.size:
            worst = int(beyond[0])
            asked = f"class {worst} does not exist" if worst >= 0 else f"there is no class of rank {-worst}"
            raise TargetError(f"{asked}: the output {self.of!r} has classes 0 to {count - 1}")
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
        rows = np.repeat(np.arange(len(y)), self.count)
        tiled = self.row_codes(len(y))
        found: NDArray[np.int64] = np.where(tiled >= 0, tiled, order[rows[:, None], np.maximum(-tiled - 1, 0)])
        return found

    def cotangents(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """(N * K, ...) for the clean values y: (N, ...), sample by sample. Raises TargetError."""
        chosen, weights = self.chosen(y), self.row_weights(len(y))
        result = np.zeros((len(chosen), *y.shape[1:]), np.float32)
        by_class = np.moveaxis(result, self.axis, 1)
        for row, (classes, factors) in enumerate(zip(chosen, weights, strict=True)):
            np.add.at(by_class[row], classes, factors.reshape(-1, *[1] * (by_class.ndim - 2)))
        return result


@dataclass(frozen=True)
class FixedTarget:
    """Targets in a model that are given by their cotangents: score(y) = sum(y * cotangent) over the value `of`.

    `pick` gives the cotangents (N, K, ...) for the clean values y: (N, ...); K is `count`, 1 but for several boxes.
    `constant` says that they depend on y's shape only; `found` names what was chosen by its values, sample by sample.
    `reason` says why this is what was asked for.
    `emit` adds nodes that compute the cotangent (N, ...), float32, from the value of that name; it raises TargetError.
    `elsewhere` says why the value may hold another thing at that place once the input changes, "" where it does not.
    """

    model: Model
    of: str
    target: Target
    pick: Callable[[NDArray[Any]], NDArray[np.float32]]
    constant: bool
    found: Callable[[NDArray[Any]], list[Target]] | None = None
    reason: str = ""
    emit: Callable[[Emitter, str], str] | None = None
    count: int = 1
    elsewhere: str = ""

    def cotangents(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """(N * K, ...) for the clean values y: (N, ...), sample by sample. Raises TargetError."""
        found = self.pick(y)
        return found.reshape(-1, *found.shape[2:])


# What a target is in a model. Both kinds give `cotangents(y)`; those made of classes can choose theirs inside a graph.
Resolved: TypeAlias = ClassTarget | FixedTarget


def score(
    y: NDArray[Any], cotangents: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """sum(y * cotangent) per row, in float64; elements whose cotangent is 0 do not count, even if they are infinite.

    y: (R, ...). cotangents: (R, ...), or those of the rows `rows` (R,) among them. Returns (R,). Raises TargetError
    where their shapes differ.
    """
    rows = np.arange(len(y)) if rows is None else rows
    if y.shape[1:] != cotangents.shape[1:]:
        raise TargetError(
            f"the explained value has the shape {list(cotangents.shape[1:])} for the input as it is and "
            f"{list(y.shape[1:])} for a changed one, as behind a choice that the model makes (non-maximum suppression, "
            "NonZero): explain a value before that choice"
        )
    flat, weights = y.reshape(len(y), -1), cotangents.reshape(len(cotangents), -1)
    total = np.empty(len(y), np.float64)
    for row in sorted(set(rows.tolist())):
        mine = np.flatnonzero(rows == row)
        used = np.flatnonzero(weights[row])
        # Row by row, so that the result does not depend on which rows are computed together.
        total[mine] = (flat[mine[:, None], used].astype(np.float64) * weights[row, used]).sum(axis=1)
    return total
