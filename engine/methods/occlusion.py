"""Occlusion.

M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2: hide a
window of the image, at every place in turn, and look at how far the score of the class falls (figure 6 d), which class
is the most probable one then (figure 6 e), and what becomes of a unit of any layer (figure 6 b: `unit:LAYER:CHANNEL` as
the target).

Exact incremental inference (`engine/incremental/`): S. Nakandala, A. Kumar and Y. Papakonstantinou, "Incremental and
approximate inference for faster occlusion-based deep CNN explanations", SIGMOD 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..attribution.baselines import (
    FILLS,
    INPAINT,
    INTERPOLATE,
    baseline,
    inpainted,
    interpolated,
    time_axis,
    usual_fill,
)
from ..attribution.coalitions import Coalitions, fills_of
from ..attribution.inputs import picture
from ..attribution.maps import GridMaps, Maps
from ..attribution.segments import AUTO, GRID_HELP, NAMES, Features, features_of, idle_segment_options
from ..attribution.signal_windows import signal_windows
from ..attribution.windows import WindowGrid, most_frequent, patches, refine, sample
from ..errors import MethodError
from ..incremental.windows import Hidden
from ..targets.resolved import ClassTarget
from .families.occluding import Occluder, approximation_error, boxes_of, most_probable
from .options import option
from .registry import Method, Needs, Sanity, method

if TYPE_CHECKING:
    from ..attribution.problem import Problem

MODES = ("exact", "plain", "coarse-to-fine", "capped")
# Places at which an approximation is compared with the exact value.
CHECKED = 16


@method("occlusion", "occlusion-sensitivity")
@dataclass(frozen=True)
class Occlusion(Method):
    """How far the score falls when a window of the input is hidden, place by place.

    Values are clean minus hidden score, (ny, nx) for the windows at 0, stride, 2 stride, ...; one more, flush with the
    border, if they would not cover it. Several patch sizes, or segments in place of windows, give one value per pixel.
    The exact mode computes only what a window changes, if that pays, and gives what the plain one gives. `details`
    hold the most probable class with each window hidden (`classes`) and at every pixel of the model's input
    (`class_map`: that of most windows over it, -1 where none is). Signals are hidden along their axis, samples of rows
    and columns (time, features) over both; what is longer than 1024 elements in stretches. `reason` says which windows,
    and how many runs they take.
    """

    patch: int | str | tuple[int | str, ...] | None = option(
        None,
        "Side of the window in pixels of the model's input; 24x48: rows x columns; 16,32: several sizes, averaged. "
        "None: a 7th of the shorter side. On other inputs a number runs along time, 8x2 along times and features, "
        "8x16x16 along the axes of a volume; None: one element, or stretches of long inputs.",
    )
    stride: int | None = option(None, "Step of the window in pixels. None: half the patch.", low=1)
    fill: str | float | np.ndarray | None = option(  # noqa: RUF009
        None, "What is seen in the window. None: blur on images, zero on other inputs.", choices=FILLS
    )
    segments: int | str | np.ndarray | None = option(  # noqa: RUF009
        None,
        "Hide segments in place of windows: superpixels (a number: about that many), a grid, or an array of labels.",
        choices=tuple(name for name in NAMES if name not in ("auto", "elements")),
        low=1,
        high=100_000,
    )
    grid: int | str | tuple[int | str, ...] = option(8, GRID_HELP, low=1, high=1024)
    compactness: float = option(30.0, "Of superpixels: low ones follow colours, high ones are compact.", low=0)
    mode: str = option(
        "exact",
        "exact; plain: the whole network for every window; coarse-to-fine: a part of the windows, refined where they "
        "differ; capped: changes are followed through a part of every map only.",
        choices=MODES,
    )
    budget: float = option(0.25, "Share of the windows that `coarse-to-fine` looks at.", low=0.001, high=1)
    cap: float = option(0.7, "Share of every map, along each axis, that `capped` lets change.", low=0.05, high=1)
    seed: int = option(0, "Of the fill `noise`, and of the places at which an approximation is checked.", low=0)
    needs: ClassVar[Needs] = "forward"
    randomisation: ClassVar[Sanity] = "passes"

    def idle(self) -> Mapping[str, str]:
        found = idle_segment_options(self.segments)
        if self.mode != "coarse-to-fine":
            found["budget"] = "mode='coarse-to-fine'"
        if self.mode != "capped":
            found["cap"] = "mode='capped'"
        if self.segments is not None:
            found |= {"patch": "windows (no segments)", "stride": "windows (no segments)"}
        return found

    def __call__(self, problem: Problem) -> Maps:
        _check_depends(problem)
        problem.runs.note_changes()
        if problem.input.axes is None:
            return self._on_signal(problem)
        if self.segments is not None:
            return self._by_segments(problem)
        plane = problem.input.plane
        assert plane is not None
        grids = [WindowGrid(plane, patch, self._stride(patch)) for patch in patches(self.patch, plane)]
        looks = [self._look_at(problem, grid) for grid in grids]
        done = _Done(problem, sum(look.count for look in looks) * len(problem.input.x))
        for look in looks:
            look.done = done
        parts = [[look.at(sample) for sample in range(len(problem.input.x))] for look in looks]
        done.whole()
        values = [np.concatenate([found.values for found in part]) for part in parts]
        details = [_joined([part[s].details for part in parts]) for s in range(len(parts[0]))]
        for number, entry in enumerate(details):
            classes = [part[number].details.get("classes") for part in parts]
            entry.update(_about_classes(problem, number, most_frequent(grids, classes)))
        rows = problem.target.count
        covers = np.mean([g.mean_cover(v) for g, v in zip(grids, values, strict=True)], axis=0, dtype=np.float64)
        plane_map = np.asarray(covers, np.float32)
        return GridMaps(
            np.asarray(values[0], np.float32) if len(grids) == 1 else plane_map,
            plane=plane_map,
            details=tuple(
                self._of_row(problem, grids, number, entry, drops)
                for number, entry in enumerate(details)
                for drops in enumerate(values[0][number * rows : (number + 1) * rows])
            ),
        )

    def _of_row(
        self,
        problem: Problem,
        grids: Sequence[WindowGrid],
        number: int,
        details: dict[str, Any],
        drops: tuple[int, NDArray[np.float64]],
    ) -> dict[str, Any]:
        """The details of one of a sample's targets; those of a single window only where all have one size."""
        own = {name: value for name, value in details.items() if not name.startswith("probabilities")}
        if len(grids) > 1:
            return own
        (grid,), (row, values) = grids, drops
        window = int(np.argmax(np.nan_to_num(values, nan=-np.inf)))
        own |= {
            "window": tuple(grid.boxes[window].tolist()),
            "window_shown": self._with_hidden(problem, grid, number, window),
        }
        if "probabilities" in details:
            found = np.asarray(details["probabilities"][row])
            own |= {"probability": found, "probability_map": grid.mean_cover(found.astype(np.float64))}
        return own

    def _with_hidden(self, problem: Problem, grid: WindowGrid, number: int, window: int) -> NDArray[np.uint8] | None:
        """What the model sees with a window hidden, as an image, uint8 (h, w, 3)."""
        x, axes = problem.input.x[number].copy(), problem.input.axes
        assert axes is not None
        y0, x0, y1, x1 = grid.boxes[window]
        mask = np.zeros(grid.plane, np.bool_)
        mask[y0:y1, x0:x1] = True
        fill = self.filling(problem, number, lambda _: mask)
        place = [slice(None)] * x.ndim
        place[axes[0] - 1], place[axes[1] - 1] = slice(y0, y1), slice(x0, x1)
        x[tuple(place)] = (fill(window) if callable(fill) else fill)[tuple(place)]
        return picture(problem.source, replace(problem.input, x=x[None], images=None, geometries=None), 0)

    def _stride(self, patch: tuple[int, int]) -> tuple[int, int]:
        if self.stride is None:
            return max(1, patch[0] // 2), max(1, patch[1] // 2)
        return self.stride, self.stride

    def _look_at(self, problem: Problem, grid: WindowGrid) -> _Looks:
        if self.mode == "coarse-to-fine":
            return _Coarse(problem, self, grid)
        if self.mode == "capped":
            return _Capped(problem, self, grid)
        return _Looks(problem, self, grid)

    def filling(
        self, problem: Problem, number: int, hidden: Callable[[int], NDArray[np.bool_]]
    ) -> NDArray[Any] | Callable[[int], NDArray[Any]]:
        """What is seen in the windows of a sample. hidden: the pixels (H, W) that a window hides."""
        if not (isinstance(self.fill, str) and self.fill == INPAINT):
            return np.asarray(self._fills(problem)[number])
        x, axes = problem.input.x[number], problem.input.axes
        assert axes is not None
        plane = axes[0] - 1, axes[1] - 1

        def filled(window: int) -> NDArray[Any]:
            return np.asarray(inpainted(x, plane, hidden(window)[None])[0])

        return filled

    def _fills(self, problem: Problem) -> NDArray[Any]:
        return baseline(problem, usual_fill(problem) if self.fill is None else self.fill, self.seed)

    # --- segments ---

    def _by_segments(self, problem: Problem) -> Maps:
        assert self.segments is not None
        if self.mode not in ("exact", "plain"):
            raise MethodError(f"mode {self.mode!r} is for windows on a grid: with segments use 'exact' or 'plain'")
        values, details = [], []
        parts = features_of(problem, self.segments, self.grid, self.compactness)
        done = _Done(problem, sum(map(len, parts)))
        for number, features in enumerate(parts):
            if features.covers is not None or not features.on_plane:
                raise MethodError("segments of occlusion are labels of pixels: for masks that overlap use `ablation`")
            labels = np.ascontiguousarray(features.labels)
            boxes = boxes_of(labels, len(features))
            ids = np.arange(len(features), dtype=np.int32)

            def hidden(window: int, labels: NDArray[np.int32] = labels) -> NDArray[np.bool_]:
                return np.asarray(labels == window)

            fill = self.filling(problem, number, hidden)
            occluder = Occluder(problem, plain=self.mode == "plain", progress=done)
            drops, found = occluder.score_drops(number, Hidden(boxes, fill, labels, ids))
            found.pop("probabilities", None)
            if "classes" in found:
                found |= _about_classes(problem, number, np.append(found["classes"], -1)[labels].astype(np.int32))
            for row in drops:
                values.append(features.spread(row))
                details.append({"features": features.kind, "weights": tuple(row.tolist()), "segments": labels, **found})
        return GridMaps(np.stack(values), details=tuple(details))

    # --- other inputs ---

    def _on_signal(self, problem: Problem) -> Maps:
        """Windows, or segments, of an input that is no image."""
        x = problem.input.x
        if x.ndim < 2:
            raise MethodError("occlusion hides a part of a sample, and the samples are single numbers")
        if self.mode not in ("exact", "plain"):
            raise MethodError(f"mode {self.mode!r} is for images and the input is none: use 'exact' or 'plain'")
        if self.segments is not None:
            return self._signal_segments(problem, self.segments)
        if problem.input.reading is not None and self.patch is None:
            return self._signal_segments(problem, AUTO)
        windows = signal_windows(problem.source, problem.input.name, x.shape[1:], self.patch, self.stride)
        done = _Done(problem, windows.count * len(x))
        drops = [self._drops_of(problem, number, windows.count, windows.hides, done) for number in range(len(x))]
        found = np.concatenate(drops)
        values = np.asarray(windows.values(found), np.float32)
        return GridMaps(values, plane=windows.cover(found), reason=windows.reason)

    def _signal_segments(self, problem: Problem, segments: int | str | NDArray[Any]) -> Maps:
        parts = features_of(problem, segments, self.grid, self.compactness)
        done, shape = _Done(problem, sum(map(len, parts))), problem.input.x.shape[1:]
        if problem.input.reading is not None:
            return self._words(problem, parts[0])
        values, details = [], []
        for number, features in enumerate(parts):
            if features.covers is not None:
                raise MethodError("segments of occlusion are labels of elements: for masks that overlap use `ablation`")
            labels = features.labels

            def hides(segment: int, features: Features = features) -> NDArray[np.bool_]:
                return np.broadcast_to(features.in_sample(features.labels == segment, len(shape)), shape)

            for row in self._drops_of(problem, number, len(features), hides, done):
                values.append(features.spread(row))
                details.append({"features": features.kind, "weights": tuple(row.tolist()), "segments": labels})
        return parts[0].maps(np.stack(values), reduce="none", details=tuple(details))

    def _words(self, problem: Problem, features: Features) -> Maps:
        """Words of a text, hidden one by one."""
        fill = fills_of(problem, [features], usual_fill(problem) if self.fill is None else self.fill, self.seed)[0]
        coalitions = Coalitions(problem, 0, features, fill)
        drops = (coalitions.clean - coalitions.scores_without()).T
        details = [
            {"features": features.kind, "weights": tuple(row.tolist()), "names": features.names} for row in drops
        ]
        return features.maps(np.stack([features.spread(row) for row in drops]), reduce="none", details=tuple(details))

    def _drops_of(
        self, problem: Problem, number: int, count: int, hides: Callable[[int], Any], done: _Done
    ) -> NDArray[np.float64]:
        """Clean minus hidden scores (K, count) of a sample, each with what `hides` says of it filled."""
        x, axis = problem.input.x, time_axis(problem)
        between = isinstance(self.fill, str) and self.fill == INTERPOLATE
        if between and axis is None:
            raise MethodError("the fill 'interpolate' is for signals and series: use 'zero', a number or an array")
        fill = None if between else self._fills(problem)[number]

        def make(numbers: NDArray[np.int64]) -> NDArray[Any]:
            out = np.repeat(x[number : number + 1], len(numbers), 0)
            if fill is None:
                gone = np.zeros(out.shape, bool)
                for place, window in enumerate(numbers):
                    gone[place][hides(int(window))] = True
                assert axis is not None
                return interpolated(x[number], axis, gone)
            for place, window in enumerate(numbers):
                part = hides(int(window))
                out[place][part] = fill[part]
            return out

        first = number * problem.target.count
        clean = problem.scores[first : first + problem.target.count]
        hidden = problem.runs.scores_generated(count, make, number, done)
        with np.errstate(invalid="ignore"):  # the explanation says that scores are not finite
            return np.asarray((clean - hidden).T)


def _about_classes(problem: Problem, number: int, class_map: NDArray[np.int32] | None) -> dict[str, Any]:
    """What details say of the most probable classes: of the clean sample, and on the plane."""
    if class_map is None or not isinstance(problem.target, ClassTarget):
        return {}
    clean = most_probable(problem.target, problem.y[number : number + 1])
    return {"class": int(clean[0]), "class_map": class_map}


def _check_depends(problem: Problem) -> None:
    """Raises MethodError where the explained number does not depend on the explained input."""
    if problem.input.name not in problem.model.ancestors(problem.target.of):
        raise MethodError(
            f"the target {problem.asked} is computed from {problem.target.of!r}, which does not depend on the input "
            f"{problem.input.name!r}: choose another target"
        )


class _Done:
    """Counts the windows that are done, and tells the runtime's `progress`."""

    def __init__(self, problem: Problem, total: int) -> None:
        self.report, self.total, self.count = problem.runtime.progress, total, 0

    def __call__(self, more: int) -> None:
        self.count = min(self.count + more, self.total)
        if self.report is not None:
            self.report(self.count, self.total)

    def whole(self) -> None:
        """All that had to be done is done, be it less than was thought."""
        if self.count < self.total:
            self(self.total - self.count)


@dataclass
class _Found:
    """What came out for one sample: values (K, ny, nx), numbers worth knowing."""

    values: NDArray[np.float64]
    details: dict[str, Any]


class _Looks:
    """Windows of one size, at the samples of a problem."""

    def __init__(self, problem: Problem, method: Occlusion, grid: WindowGrid) -> None:
        self.problem, self.method, self.grid = problem, method, grid
        self.done: Callable[[int], None] | None = None

    @property
    def count(self) -> int:
        """How many windows will be looked at for one sample, about."""
        return len(self.grid.boxes)

    def at(self, number: int) -> _Found:
        drops, details = self.drops(number, self.every, Occluder(self.problem, plain=self.method.mode == "plain"))
        return self._found(drops, details)

    @property
    def every(self) -> NDArray[np.int64]:
        return np.arange(len(self.grid.boxes))

    def _found(self, drops: NDArray[np.float64], details: dict[str, Any]) -> _Found:
        if "classes" in details:
            details["classes"] = details["classes"].reshape(self.grid.shape)
            details["probabilities"] = details["probabilities"].reshape(-1, *self.grid.shape)
        return _Found(drops.reshape(-1, *self.grid.shape), details)

    def drops(
        self, number: int, windows: NDArray[np.int64], occluder: Occluder
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Clean minus hidden scores (K, n) of some windows, and details."""
        boxes, plane = self.grid.boxes, self.grid.plane

        def hidden(window: int) -> NDArray[np.bool_]:
            y0, x0, y1, x1 = boxes[window]
            mask = np.zeros(plane, bool)
            mask[y0:y1, x0:x1] = True
            return mask

        fill = self.method.filling(self.problem, number, hidden)
        return replace(occluder, progress=self.done).score_drops(number, Hidden(boxes, fill), windows)


class _Coarse(_Looks):
    """A coarse grid first, refined where the values differ."""

    @property
    def count(self) -> int:
        return min(int(self.method.budget * len(self.grid.boxes)) + CHECKED, len(self.grid.boxes))

    def at(self, number: int) -> _Found:
        reasons: list[dict[str, Any]] = []
        budget = self.method.budget
        occluder = Occluder(self.problem, share=budget)

        def look(places: NDArray[np.int64]) -> NDArray[np.float64]:
            drops, details = self.drops(number, places, occluder)
            reasons.append(details)
            return np.asarray(drops.T)

        found = refine(self.grid.shape, look, budget)
        unseen = sample(~found.seen, CHECKED, self.method.seed)
        details: dict[str, Any] = {**reasons[0], "looked_at": float(found.seen.mean())}
        details.pop("classes", None)
        details.pop("probabilities", None)
        if len(unseen):
            exact, _ = self.drops(number, unseen, occluder)
            details |= approximation_error(found.values.reshape(len(exact), -1)[:, unseen], exact, np.ptp(found.values))
        return _Found(found.values, details)


class _Capped(_Looks):
    """Changes are followed through a part of every map only."""

    @property
    def count(self) -> int:
        return len(self.grid.boxes) + min(CHECKED, len(self.grid.boxes))

    def at(self, number: int) -> _Found:
        drops, details = self.drops(number, self.every, Occluder(self.problem, cap=self.method.cap))
        checked = sample(np.ones(len(self.every), bool), CHECKED, self.method.seed)
        exact, _ = self.drops(number, checked, Occluder(self.problem, plain=True))
        return self._found(drops, {**details, **approximation_error(drops[:, checked], exact, float(np.ptp(drops)))})


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The details of one patch size as they are; of several, each under its number."""
    if len(parts) == 1:
        return parts[0]
    return {f"{name}_{number}": value for number, part in enumerate(parts) for name, value in part.items()}
