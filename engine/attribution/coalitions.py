"""Coalitions: groups of pixels or segments that are shown or hidden together."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.masks import coalitions
from ..errors import MethodError
from ..inference.row_graphs import RowGraph
from ..inference.row_graphs import coalitions as made_of
from ..targets.resolved import FixedTarget
from .baselines import DROP, INPAINT, INTERPOLATE, baseline, inpainted, interpolated, time_axis
from .segments import Features

if TYPE_CHECKING:
    from .problem import Problem

# Each segment's own mean colour: what the reference implementation of LIME for images hides with.
SEGMENT_MEAN = "segment-mean"
# Methods that solve for all features at once hold matrices of features by features.
MOST_FEATURES = 4096
_MOST_ELEMENTS = 1 << 26


def fills_of(
    problem: Problem, features: list[Features], fill: str | float | NDArray[Any], seed: int
) -> list[NDArray[Any] | None]:
    """What stands in for hidden elements, (...) for every sample; None: what surrounds them, case by case.

    Raises MethodError.
    """
    if isinstance(fill, str) and fill == DROP:
        if problem.input.reading is None or problem.input.at:
            raise MethodError("the fill 'drop' is for words of a text: use 'zero', a number or an array")
        said = isinstance(problem.target, FixedTarget) and problem.target.target.at_token
        if problem.asked.at_token or said or problem.input.reading.output:
            raise MethodError(
                "the fill 'drop' makes the text shorter and the target is at one place of it: use 'pad' or 'mask'"
            )
        return [None] * len(features)
    if isinstance(fill, str) and fill == INTERPOLATE:
        if time_axis(problem) is None:
            raise MethodError("the fill 'interpolate' is for signals and series: use 'zero', a number or an array")
        return [None] * len(features)
    if isinstance(fill, str) and fill == INPAINT:
        if not features[0].on_plane:
            raise MethodError("the fill 'inpaint' is for segments of an image: use 'zero', a number or an array")
        return [None] * len(features)
    if isinstance(fill, str) and fill == SEGMENT_MEAN:
        if not features[0].on_plane:
            raise MethodError("the fill 'segment-mean' is for segments of an image: use 'zero', a number or an array")
        axes = _axes(problem)
        return [_segment_means(x, axes, f) for x, f in zip(problem.input.x, features, strict=True)]
    return list(baseline(problem, fill, seed))


def _axes(problem: Problem) -> tuple[int, int]:
    """Height and width in a sample."""
    axes = problem.input.axes
    assert axes is not None
    return axes[0] - 1, axes[1] - 1


def _segment_means(x: NDArray[Any], axes: tuple[int, int], features: Features) -> NDArray[Any]:
    """A sample (...) with every element its segment's mean, channel by channel."""
    planes = np.moveaxis(x, axes, (-2, -1))
    labels = features.labels.ravel() + 1
    sizes = np.maximum(np.bincount(labels, minlength=features.atoms + 1), 1)
    result = np.empty((int(np.prod(planes.shape[:-2])), labels.size), np.float64)
    for plane, out in zip(planes.reshape(-1, labels.size), result, strict=True):
        out[:] = (np.bincount(labels, plane.astype(np.float64), features.atoms + 1) / sizes)[labels]
    if x.dtype.kind in "iu":
        result = np.rint(result)
    return np.moveaxis(result.reshape(planes.shape), (-2, -1), axes).astype(x.dtype)


class Coalitions:
    """One sample of a problem, ready to be looked at with any of its features hidden.

    Attributes: `features`; `clean` (K,), the scores of the whole sample for each of its targets.

    fill: (...), what stands in for hidden elements; with `in_rows` (B, ...), rows of a background: the score of a
    coalition is the mean of those with each row in turn standing in.
    """

    def __init__(
        self, problem: Problem, sample: int, features: Features, fill: NDArray[Any] | None, in_rows: bool = False
    ) -> None:
        self.problem, self.sample, self.features, self.in_rows = problem, sample, features, in_rows
        self._x = np.ascontiguousarray(problem.input.x[sample])
        self._fill = None if fill is None else np.ascontiguousarray(fill)
        # As the kernel sees it: an image, or all elements in one row.
        view = problem.input.planar if features.on_plane else _in_one_row(self._x.shape, features)
        self._of_words = fill is None and problem.input.reading is not None and not features.on_plane
        if self._of_words:  # words are cut out of a text: no array is filled
            view = 1, 1, features.labels.size, 1
        assert view is not None
        labels = np.where(features.labels < 0, features.atoms, features.labels)
        self._view, self._labels = view, np.ascontiguousarray(labels.reshape(view[1:3]), np.int32)
        count = problem.target.count
        self.clean = problem.scores[sample * count : (sample + 1) * count]
        if not np.isfinite(self.clean).all():
            raise MethodError(f"the score is not a finite number: {problem.why_not_finite()}")

    def scores(self, keep: NDArray[Any]) -> NDArray[np.float64]:
        """The scores (B, K) with the features where keep (B, F) is False hidden; shares in 0..1 mix input and fill.

        Raises MethodError where a score is not finite.
        """
        return self.scores_generated(len(keep), lambda numbers: keep[numbers])

    def scores_without(self) -> NDArray[np.float64]:
        """The scores (F, K) with each feature hidden alone."""

        def all_but(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.asarray(numbers[:, None] != np.arange(len(self.features)))

        return self.scores_generated(len(self.features), all_but)

    def inputs(self, keep: NDArray[Any]) -> NDArray[Any]:
        """The inputs (B, ...) of the coalitions keep (B, F), booleans or shares in 0..1."""
        return self._made(keep, self._fill)

    def _without_words(self, keep: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Feeds of the text with its words cut out where keep (B, F) is False, or less than a half."""
        given = self.problem.input
        assert given.reading is not None
        feeds = given.reading.without(self.problem.source, keep if keep.dtype.kind == "b" else keep >= 0.5)
        if given.parts:
            feeds[given.name] = np.concatenate([feeds.pop(name) for name, _ in given.parts], axis=given.part_axis)
        rows = {name: array for name, array in given.others.items() if name not in feeds}
        return feeds | {
            n: np.repeat(a, len(keep), 0) for n, a in rows.items() if given.by_sample(self.problem.model, n)
        }

    def _made(self, keep: NDArray[Any], fill: NDArray[Any] | None) -> NDArray[Any]:
        """fill: (...), or (B, ...), one for each coalition."""
        x, shares = self._x, self.features.seen(keep)
        # What belongs to no feature is always seen.
        shares = np.concatenate([shares, np.ones((len(shares), 1), shares.dtype)], axis=1)
        if shares.dtype.kind != "b" and self.problem.input.reading is not None and not self.problem.input.at:
            shares = shares >= 0.5  # there is nothing between two tokens
        if shares.dtype.kind != "b":
            return self._mixed(shares, fill)
        if fill is None:
            hidden = ~shares[:, self.features.labels]
            if self.features.on_plane:
                return inpainted(x, _axes(self.problem), hidden)
            axis = time_axis(self.problem)
            assert axis is not None
            return interpolated(x, axis, np.broadcast_to(self._fitted(hidden), (len(hidden), *x.shape)))
        if x.dtype.hasobject or x.dtype.itemsize not in (1, 2, 4, 8) or self.in_rows:
            return np.where(self._fitted(shares[:, self.features.labels]), x, fill)
        view = self._view
        out = np.empty((len(keep), *x.shape), x.dtype)
        coalitions(out.reshape(len(keep), *view), x.reshape(view), fill.reshape(view), self._labels, shares)
        return out

    def _mixed(self, shares: NDArray[Any], fill: NDArray[Any] | None) -> NDArray[Any]:
        """fill + share * (input - fill), for shares (B, A + 1)."""
        x = self._x
        if x.dtype.kind not in "fiu":
            raise MethodError(f"an input of {x.dtype} cannot be mixed with a fill: use a method that only hides")
        if fill is None:
            name = INPAINT if self.features.on_plane else INTERPOLATE
            raise MethodError(
                f"the fill {name!r} is for what is hidden wholly: use 'blur' or 'mean' where parts are mixed"
            )
        real = np.float64 if x.dtype == np.float64 else np.float32
        masks = self._fitted(shares.astype(real)[:, self.features.labels])
        mixed = fill + masks * (x.astype(real) - fill)
        return np.asarray(np.rint(mixed) if x.dtype.kind in "iu" else mixed, x.dtype)

    def _fitted(self, masks: NDArray[Any]) -> NDArray[Any]:
        """Masks (B, ...) over `labels`, with the axes of a sample."""
        if not self.features.on_plane:
            return self.features.in_sample(masks, self._x.ndim)
        axes = _axes(self.problem)
        return masks.reshape(len(masks), *(n if axis in axes else 1 for axis, n in enumerate(self._x.shape)))

    def scores_generated(self, count: int, make: Callable[[NDArray[np.int64]], NDArray[Any]]) -> NDArray[np.float64]:
        """The scores (count, K) of the coalitions that `make` gives for numbers (B,): keep (B, F), as in `scores`.

        `make` is called by several threads at once. Raises MethodError where a score is not finite.
        """
        problem, rows = self.problem, 1
        if self.in_rows:
            assert self._fill is not None
            rows = len(self._fill)
        count *= rows
        # The other samples are expected to take as many runs.
        done, total, report = self.sample * count, len(problem.input.x) * count, problem.runtime.progress

        def progress(more: int) -> None:
            nonlocal done
            done += more
            if report is not None:
                report(done, total)

        def inputs(numbers: NDArray[np.int64]) -> NDArray[Any] | dict[str, NDArray[Any]]:
            if self._of_words:
                return self._without_words(make(numbers))
            if not self.in_rows:
                return self.inputs(make(numbers))
            assert self._fill is not None
            return self._made(make(numbers // rows), self._fill[numbers % rows])

        there = None
        if self._fill is not None and not (self._of_words or self.in_rows):
            there = functools.partial(self._graph, make)
        result = problem.runs.scores_generated(count, inputs, self.sample, progress, there)
        broken = int((~np.isfinite(result)).any(axis=1).sum())
        if broken:
            raise MethodError(
                f"the score is not a finite number for {broken} of {count} inputs with hidden features: choose another"
                " fill"
            )
        return result.reshape(count // rows, rows, -1).mean(axis=1) if self.in_rows else result

    def _graph(self, make: Callable[[NDArray[np.int64]], NDArray[Any]]) -> RowGraph:
        """What makes the inputs of the coalitions that `make` gives on a device."""
        given = self.problem.input
        fractions = make(np.zeros(1, np.int64)).dtype.kind != "b"
        ids = fractions and given.reading is not None and not given.at  # there is nothing between two tokens

        def shares(numbers: NDArray[np.int64]) -> NDArray[Any]:
            seen = self.features.seen(make(numbers))
            whole = np.concatenate([seen, np.ones((len(seen), 1), seen.dtype)], axis=1)
            return whole >= 0.5 if ids else whole

        assert self._fill is not None
        return made_of(self._x, self._view, self._fill, self._labels, shares, mixed=fractions and not ids)


def _in_one_row(shape: tuple[int, ...], features: Features) -> tuple[int, int, int, int]:
    """A sample that is no image as the kernel sees it: what is before its places, one row of them, what is behind."""
    if not features.along:
        return 1, 1, math.prod(shape), 1
    first, last = features.along[0], features.along[-1]
    return math.prod(shape[:first]), 1, math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])


def check_count(method: str, features: Features) -> None:
    """Raises MethodError for more features than a method can solve for."""
    if len(features) > MOST_FEATURES:
        raise MethodError(
            f"{method} cannot solve for {len(features)} features ({features.kind}), at most {MOST_FEATURES}: "
            "give segments that group them"
        )


def check_size(samples: int, features: int) -> None:
    """Raises MethodError where a table of samples x features would not fit into memory."""
    if samples * features > _MOST_ELEMENTS:
        raise MethodError(
            f"{samples} samples of {features} features are too many to solve for at once: take at most "
            f"{_MOST_ELEMENTS // features} samples, or fewer segments"
        )


def fit_quality(y: NDArray[np.float64], fitted: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The weighted coefficient of determination R^2 of a fit; 1 where there is nothing to explain."""
    mean = np.average(y, weights=weights)
    spread = float(weights @ (y - mean) ** 2)
    left = float(weights @ (y - fitted) ** 2)
    return 1.0 if spread <= 1e-24 * max(1.0, mean * mean) * weights.sum() else 1 - left / spread
