"""Class activation maps: one pipeline for the whole family.

    choose a layer -> its maps A (C, h, w), the score's gradient G at them -> weigh -> sum over channels -> (h, w)

The variants differ in how they weigh; each is one file in `methods/`. Maps are signed and not normalised: the ReLU
that most papers put at the end is left to the picture, whose colour scale begins at 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ...attribution.box_layers import candidates_of
from ...attribution.layer_choice import MapPlace, activations, choose, depends, fitting_layers, may_miss, reached
from ...attribution.maps import GridMaps, Maps
from ...attribution.tail import Tail
from ...compiled.build import Build
from ...compiled.emitted import Emitted, EmittedGrid
from ...compiled.maps import activations as emit_activations
from ...compiled.maps import maps_of_value
from ...compiled.stage import Stage, stage_of
from ...detection.emit import SIDES
from ...errors import MethodError
from ...inference.device_rows import small_session
from ...inference.row_graphs import parts_of_value
from ...targets.boxes import BoxTarget, Ranked, emitted_gate
from ..registry import Method, Needs
from .flatten_head import flattens

if TYPE_CHECKING:
    from ...attribution.problem import Problem
    from ...inspect.token_grid import Grid


@dataclass(frozen=True)
class Cam(Method):
    """Base of the family: `weigh` for those that look at activations and gradients, else `map`."""

    needs: ClassVar[Needs] = "gradient"
    at_layer: ClassVar[bool] = True
    # Whether gradients are averaged over the places of a map.
    averages: ClassVar[bool] = False
    # Whether `emit_weighed` computes what `weigh` does in the same way, so that it may take its place on a device.
    weighs_in_nodes: ClassVar[bool] = True

    def weigh(self, activations: NDArray[np.float32], gradients: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (R, h, w) from activations and gradients (R, C, h, w)."""
        raise TypeError(f"{type(self).__name__} defines no weigh")

    def map(self, problem: Problem, place: MapPlace) -> NDArray[np.float32]:
        """Maps (R, h, w) of all rows at one layer."""
        there = weighed_there(self, problem, place)
        if there is not None:
            return there
        gradients = problem.gradients.by([place.value])[place.value]
        return self.weigh(activations(problem, place), place.grid.maps(gradients).astype(np.float32, copy=False))

    def __call__(self, problem: Problem) -> Maps:
        places = choose(problem, self.needs == "gradient")
        if not problem.layers and may_miss(problem) and not depends(problem, places[0]):
            # Of several branches, as those of a detector, the target may be about another one.
            places = [reached(problem, places[0])]
        maps = [np.ascontiguousarray(self.map(problem, place), np.float32) for place in places]
        reason = "; ".join(dict.fromkeys(place.reason for place in places))
        if len(places) > 1:
            reason += "; maps of several layers: each divided by its greatest magnitude, brought to one size, averaged"
        along = places[0].sizes
        if along:
            maps = [one.reshape(len(one), *place.sizes) for one, place in zip(maps, places, strict=True)]
        values, plane = maps[0] if len(maps) == 1 else merged(maps), None
        if along:
            plane = values.reshape(len(values), 1 if len(along) == 1 else values.shape[1], -1)
        warnings = tuple(dict.fromkeys(text for place in places for text in self._about(problem, place)))
        return GridMaps(
            values,
            # What makes a box wider counts on either side of it.
            display="signed" if problem.target.of == SIDES else "positive",
            layer="+".join(place.name for place in places),
            reason=reason,
            plane=plane,
            warnings=(warnings,) * len(values),
        )

    def _about(self, problem: Problem, place: MapPlace) -> tuple[str, ...]:
        """What speaks against the map of a layer."""
        if not self.averages or not flattens(problem, place):
            return place.warnings
        text = (
            f"the maps of {place.name} are flattened, so that every place has weights of its own, which {self.name} "
            "averages: it can show places that the network does not use; hires-cam shows those that it does"
        )
        return (*place.warnings, text)

    def emit(self, build: Build) -> Emitted:
        if not self.can_be_compiled():
            return Method.emit(self, build)
        return emit_cam(self, build)

    def emit_map(self, build: Build, place: MapPlace, gradient: str) -> str:
        """`map` in a graph: (N, h, w); `gradient` is the name of the score's gradient by the layer's value, or ""."""
        return self.emit_weighed(build, emit_activations(build, place), maps_of_value(build, place.grid, gradient))

    def emit_weighed(self, build: Build, activations: str, gradients: str) -> str:
        """`weigh` in a graph: (N, h, w) from activations and gradients (N, C, h, w)."""
        raise TypeError(f"{type(self).__name__} defines no emit_weighed")

    @classmethod
    def can_be_compiled(cls) -> bool:
        return cls.emit_map is not Cam.emit_map or cls.emit_weighed is not Cam.emit_weighed


def weighed_there(method: Cam, problem: Problem, place: MapPlace) -> NDArray[np.float32] | None:
    """`Cam.map` with maps and gradients that stay on a device, where nodes weigh them; None where they do not."""
    if type(method).emit_weighed is Cam.emit_weighed or not method.weighs_in_nodes or place.sizes or place.zero:
        return None
    found = np.zeros((0,), np.float32)

    def emit(build: Stage) -> str:
        both = (maps_of_value(build, place.grid, name) for name in build.names)
        return method.emit_weighed(build, *both)

    def take(rows: NDArray[np.int64], got: dict[str, Any], gradients: Mapping[str, str]) -> None:
        nonlocal found
        values = {"activations": got[place.value], "gradients": got[gradients[place.value]]}
        shapes = {name: (value.element_type(), (None, *value.shape()[1:])) for name, value in values.items()}
        weigher = stage_of((method, _key(place.grid)), shapes, emit)
        made = small_session(weigher, problem.runtime.providers).run_on_device(values, ["made"])["made"]
        maps = made.numpy()[: len(rows)].astype(np.float32, copy=False)
        if not len(found):
            found = np.empty((problem.rows, *maps.shape[1:]), np.float32)
        found[rows] = maps

    return found if problem.gradients.on_device([place.value], take) else None


def _key(grid: Grid) -> Hashable:
    """What tells grids apart."""
    order = None if grid.order is None else grid.order.tobytes()
    return grid.shape, grid.axes, grid.channel, grid.others, order


def merged(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of maps (R, h, w) of several layers at the finest size, each divided by its greatest magnitude; of maps
    along a signal (R, t) or a volume (R, d, h, w) likewise."""
    from ....kernels.upsample import upsample_along

    size = tuple(max(sides) for sides in zip(*(m.shape[1:] for m in maps), strict=True))
    total = np.zeros((len(maps[0]), *size), np.float32)
    for one in maps:
        most = np.abs(one).max(axis=tuple(range(1, one.ndim)), keepdims=True)
        total += upsample_along(np.where(most > 0, one / np.where(most > 0, most, 1), 0), size)
    return np.asarray(total / len(maps), np.float32)


def row_batches(count: int, each: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Numbers 0 ... count - 1 in pieces of at most `most` elements, `each` of them per number."""
    size = max(1, most // max(1, each))
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


# Elements of the variants that are made at once: 16 MiB of float32.
_TAIL_ELEMENTS = 1 << 22


def tail_scores(
    problem: Problem,
    place: MapPlace,
    make: Any,
    count: int,
    keep: Callable[[NDArray[np.int64]], NDArray[Any]],
    changing: Callable[[NDArray[np.float32]], NDArray[np.int64]] | None = None,
) -> NDArray[np.float64]:
    """Scores (R, count) of variants of the layer's value, the rest of the network run on them in batches.

    make(row's maps (C, h, w), numbers (n,)) -> (n, C, h, w): the variants of those numbers. keep: the same as what is
    kept of the maps, booleans (n, C, 1, 1) or numbers (n, 1, h, w), with which a device makes the variants itself.
    changing(row's maps): the numbers of the variants that differ from the maps, the others have the clean score; None:
    all of them.
    """
    tail = Tail(problem, place.value)
    clean = problem.runs.activations([place.value])[place.value]
    maps = place.maps(clean)
    made = _tail_scores_there(problem, place, tail, clean, count, keep, changing)
    if made is not None:
        return made
    scores = np.repeat(problem.scores[:, None], count, axis=1)
    for row in range(problem.rows):
        sample = int(problem.sample[row])
        which = np.arange(count) if changing is None else changing(maps[sample])
        for piece in row_batches(len(which), maps[sample].size, _TAIL_ELEMENTS):
            numbers = which[piece]
            variants = make(maps[sample], numbers)
            values = place.put(np.repeat(clean[sample : sample + 1], len(numbers), 0), variants)
            scores[row, numbers] = tail.scores(values, np.full(len(numbers), row))
    return scores


def _tail_scores_there(
    problem: Problem,
    place: MapPlace,
    tail: Tail,
    clean: NDArray[Any],
    count: int,
    keep: Callable[[NDArray[np.int64]], NDArray[Any]],
    changing: Callable[[NDArray[np.float32]], NDArray[np.int64]] | None,
) -> NDArray[np.float64] | None:
    """`tail_scores` where the variants are made on a device; None where they are made on the host."""
    grid = place.grid
    if place.zero or place.sizes or list(grid.axes) != sorted(grid.axes):
        return None
    always = in_layout(grid, clean, np.zeros((1, 1, *grid.shape), bool), True) if grid.others else None
    maps, scores = place.maps(clean), np.repeat(problem.scores[:, None], count, axis=1)
    for row in range(problem.rows):
        sample = int(problem.sample[row])
        value, which = clean[sample : sample + 1], np.arange(count) if changing is None else changing(maps[sample])
        if not len(which):
            continue

        def kept(numbers: NDArray[np.int64], which: NDArray[np.int64] = which) -> NDArray[Any]:
            return in_layout(grid, clean, keep(which[numbers]), 1)

        found = np.empty(len(which), np.float64)
        graph = functools.partial(parts_of_value, value, kept, always=always)
        if not tail.scores_there(len(which), row, graph, found):
            return None
        scores[row, which] = found
    return scores


def in_layout(grid: Grid, value: NDArray[Any], kept: NDArray[Any], rest: float) -> NDArray[Any]:
    """What is kept of channels, booleans (n, C, 1, 1), or of places, (n, 1, h, w), over the axes of a value (N, ...);
    places that are none of the grid's have `rest`."""
    count, shape = len(kept), [len(kept), *[1] * (value.ndim - 1)]
    if kept.shape[1] > 1:
        shape[grid.channel] = kept.shape[1]
        return kept.reshape(shape)
    sizes = [value.shape[axis] for axis in grid.axes]
    flat = np.full((count, math.prod(sizes)), rest, kept.dtype)
    flat[:, slice(None) if grid.order is None else grid.order] = kept.reshape(count, -1)
    for axis, size in zip(grid.axes, sizes, strict=True):
        shape[axis] = size
    return flat.reshape(shape)


def emit_cam(method: Cam, build: Build) -> Emitted:
    """What `Cam.__call__` does, in a graph."""
    places = choose(build.problem, method.needs == "gradient")
    gradients = build.gradients([p.value for p in places]) if method.needs == "gradient" else [""] * len(places)
    return at_places(method, build, places, gradients)


def at_places(method: Cam, build: Build, places: list[MapPlace], gradients: list[str]) -> Emitted:
    """The map of one layer, or the merged maps of several, once the gradients by them are there."""
    if any(place.sizes for place in places):
        raise MethodError("maps along a signal or a volume cannot be compiled into a model: use onnxray.explain")
    found = [method.emit_map(build, place, gradient) for place, gradient in zip(places, gradients, strict=True)]
    reason = "; ".join(dict.fromkeys(place.reason for place in places))
    target = build.problem.target
    if isinstance(target, BoxTarget) and target.ranked and len(places) > 1 and not build.problem.layers:
        value = _of_the_level(build, found, places, target.ranked)
        reason += "; of the box's level alone"
        display: Literal["signed", "positive"] = "signed" if target.of == SIDES else "positive"
        return EmittedGrid(value, display=display, layer="+".join(p.name for p in places), reason=reason)
    if len(places) > 1:
        reason += "; maps of several layers: each divided by its greatest magnitude, brought to one size, averaged"
    value = found[0] if len(found) == 1 else _merged(build, found, places)
    layer = "+".join(place.name for place in places)
    return EmittedGrid(value, display="positive", layer=layer, reason=reason)


def _of_the_level(build: Build, maps: list[str], places: list[MapPlace], which: Ranked) -> str:
    """The map of the layer at whose level the box is: what `Cam.__call__` makes of it alone."""
    op = build.op
    ranges = candidates_of(build.problem, fitting_layers(build.problem.model))
    total = ""
    for one, place in zip(maps, places, strict=True):
        gate = emitted_gate(op, which, ranges[place.name])
        wide = op.Mul(build.resized(op.Unsqueeze(one, [1]), build.plane()), gate)
        total = op.Add(total, wide) if total else wide
    return op.Squeeze(total, [1])


def _merged(build: Build, maps: list[str], places: list[MapPlace]) -> str:
    op = build.op
    sizes = [op.shape(one)[1:] for one in maps]
    if not all(isinstance(d, int) for size in sizes for d in size):
        raise MethodError("maps of several layers can be merged in a graph only where the image's size is fixed")
    size = [max(int(s[axis] or 0) for s in sizes) for axis in (0, 1)]
    total = ""
    for one in maps:
        wide = op.Unsqueeze(one, [1])
        wide = build.resized(op.Div(wide, build.greatest(wide)), size)
        total = op.Add(total, wide) if total else wide
    return op.Squeeze(op.Div(total, float(len(maps))), [1])
