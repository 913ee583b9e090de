"""The layer that class activation maps are taken at: the named one, or the last one with positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..errors import MethodError
from ..graph.model import Model
from ..inspect.layers import Layer, find_layer
from ..inspect.position_trace import trace
from ..inspect.token_grid import Grid
from ..targets.resolved import ClassTarget

if TYPE_CHECKING:
    from .problem import Problem

_NORMS = frozenset(
    """LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization SkipSimplifiedLayerNormalization
    RMSNormalization""".split()
)


@dataclass(frozen=True)
class MapPlace:
    """A layer to make a map at: its `name`, its `value`, how that is read as maps, and why it was taken.

    `zero` is the integer that stands for 0 in a quantised value.
    """

    name: str
    value: str
    grid: Grid
    reason: str
    zero: int = 0

    def maps(self, value: NDArray[Any]) -> NDArray[np.float32]:
        """(N, ...) -> (N, C, h, w) in real numbers (of a quantised value: up to its scale)."""
        found = self.grid.maps(value).astype(np.float32, copy=False)
        return found - self.zero if self.zero else found

    def put(self, value: NDArray[Any], maps: NDArray[np.float32]) -> NDArray[Any]:
        """`value` (N, ...) with `maps` (N, C, h, w) in it."""
        if value.dtype.kind in "iu":
            limits = np.iinfo(value.dtype)
            maps = np.clip(np.rint(maps + self.zero), limits.min, limits.max)
        return self.grid.put(value, maps)


def activations(problem: Problem, place: MapPlace) -> NDArray[np.float32]:
    """The layer's maps (R, C, h, w), one per row."""
    found = place.maps(problem.runs.activations([place.value])[place.value])
    return found if problem.target.count == 1 else found[problem.sample]


def choose(problem: Problem, gradients: bool = True) -> list[MapPlace]:
    """The layers that the user named, else the one that fits best; `gradients`: there must be a slope at it.

    Raises MethodError, UnknownName.
    """
    if problem.layers:
        named = [_named(problem, name) for name in problem.layers]
        return list({place.value: place for place in named}.values())
    return [_best(problem, gradients)]


def _named(problem: Problem, name: str) -> MapPlace:
    layer = find_layer(problem.model, name)
    grid = _grid(problem, layer)
    if grid is None:
        shape = None if layer.shape is None else list(layer.shape)
        what = (
            f"its values of shape {shape} are a token sequence that is no grid of the image"
            if layer.shape is not None and len(layer.shape) == 3
            else layer.cam_reason
        )
        fitting = [entry.name for entry in _candidates(problem.model)][-3:]
        hint = f"; layers that are maps: {', '.join(fitting)}" if fitting else ""
        raise MethodError(f"layer {layer.name!r} ({layer.op}) is no map of the image: {what}{hint}")
    return MapPlace(layer.name, layer.output, grid, "as given", _zero(problem.model, layer))


def _best(problem: Problem, gradients: bool) -> MapPlace:
    model, of = problem.model, problem.target.of
    before = model.ancestors(of) - {of}
    fitting = [layer for layer in _candidates(model) if layer.output in before]
    if not fitting and not gradients:
        fitting = [layer for layer in model.layers if layer.output in before and _is_quantised_map(model, layer)]
    if not fitting:
        raise MethodError(
            f"no layer before {of!r} is a float map of the image: name one with layer=, or use another method "
            "(gradient and occlusion need no layer, recipro-cam and score-cam no floats)"
        )
    if _is_dense(problem):
        # At full resolution a dense answer looks at its own place only: the coarsest maps have seen the most.
        fitting = _features(problem, fitting) or fitting
        sizes = {layer.output: _cells(problem, layer) for layer in fitting}
        least = min(sizes.values())
        chosen = [layer for layer in fitting if sizes[layer.output] == least][-1]
        reason = "the last layer of the coarsest maps, as the answer is a map itself"
    else:
        chosen = fitting[-1]
        reason = f"the last layer of {chosen.cam_reason}"
        if not chosen.cam and chosen.map_axes is not None:
            reason = "the last quantised map of the image"
        elif chosen.map_axes is None:
            reason = "the last layer that holds a vector for every patch of the image and that the answer listens to"
    grid = _grid(problem, chosen)
    assert grid is not None
    if grid.others:
        reason += f"; {grid.others} token{'s' * (grid.others > 1)} without a place left out"
    return MapPlace(chosen.name, chosen.output, grid, reason, _zero(model, chosen))


def reached(problem: Problem) -> list[MapPlace]:
    """Of several branches, the last layer that the target does depend on; empty where there is none."""
    before = problem.model.ancestors(problem.target.of) - {problem.target.of}
    fitting = [layer for layer in _candidates(problem.model) if layer.output in before]
    gradients = problem.gradients.by([layer.output for layer in fitting])
    for layer in reversed(fitting):
        if gradients[layer.output].any():
            grid = _grid(problem, layer)
            assert grid is not None
            return [MapPlace(layer.name, layer.output, grid, "the last map that this target depends on")]
    return []


def _has_plane(layer: Layer, sizes: tuple[int, ...] | None) -> bool:
    """Whether the layer's value is (N, C, h, w) in some order behind N."""
    axes = layer.map_axes or ()
    return sizes is not None and len(sizes) == 4 and len(set(axes)) == 2 and 0 not in axes


@of_model
def _candidates(model: Model) -> tuple[Layer, ...]:
    """Layers that class activation mapping fits, in graph order: convolutional maps, and residual streams of tokens."""
    found = trace(model)
    sources = found.sources()
    return tuple(
        layer
        for layer in model.layers
        if (layer.cam and _has_plane(layer, found.shapes.get(layer.output)))
        or (layer.output in sources and _is_stream(layer) and found.grid(layer.output) is not None)
    )


# Which input of a node holds its output's zero point.
_ZERO_POINTS = {"QuantizeLinear": 2, "QLinearConv": 7, "QLinearAdd": 7, "QLinearMul": 7, "QLinearLeakyRelu": 4}


def _is_quantised_map(model: Model, layer: Layer) -> bool:
    value = model.value(layer.output)
    sizes = trace(model).shapes.get(layer.output) or ()
    if value.dtype is None or value.dtype.kind not in "iu" or len(sizes) != 4 or len(layer.map_axes or ()) != 2:
        return False
    grid = trace(model).grid(layer.output)
    return layer.op.rpartition(".")[2] in _ZERO_POINTS and grid is not None


def _zero(model: Model, layer: Layer) -> int:
    """The integer that stands for 0 in the layer's value, 0 where it is not quantised."""
    node = model.producer(layer.output)
    place = _ZERO_POINTS.get(layer.op.rpartition(".")[2])
    if node is None or place is None or place >= len(node.input) or not node.input[place]:
        return 0
    constant = model.constant(node.input[place])
    return 0 if constant is None else int(constant.reshape(-1)[0])


def _is_stream(layer: Layer) -> bool:
    """Whether it is a residual sum or a normalisation: what one block of a transformer hands to the next."""
    if layer.op.rpartition(".")[2] in _NORMS:
        return True
    return layer.op == "Add" and len(layer.inputs) == 2


def _grid(problem: Problem, layer: Layer) -> Grid | None:
    """How the layer's value is read as maps, at the size of this problem's input."""
    model = problem.model
    sizes = trace(model).shapes.get(layer.output)  # as `layer.cam` was decided: where inference ends, by a run
    if layer.map_axes is not None and _has_plane(layer, sizes):
        (channel,) = [a for a in range(1, 4) if a not in layer.map_axes]
        shape = (layer.shape or (None,) * 4)[layer.map_axes[0]], (layer.shape or (None,) * 4)[layer.map_axes[1]]
        known = tuple(d if isinstance(d, int) else 0 for d in shape)
        return Grid((known[0], known[1]), tuple(layer.map_axes), channel)
    grid = trace(model).grid(layer.output)
    if grid is None or grid.order is None:
        return grid
    return _fitted(problem, layer, grid)


def _fitted(problem: Problem, layer: Layer, grid: Grid) -> Grid:
    """The token grid at another image size than the trace was made for: row by row, in the image's proportions."""
    value = problem.runs.activations([layer.output])[layer.output]
    places = int(np.prod([value.shape[a] for a in grid.axes]))
    assert grid.order is not None
    if places == grid.order.size + grid.others:
        return grid
    plane, count = problem.input.plane, places - grid.others
    first = int(grid.order.min())
    in_rows = bool((np.diff(grid.order) == 1).all())
    if plane is not None and in_rows and len(grid.axes) == 1:
        height = round((count * plane[0] / plane[1]) ** 0.5)
        if height > 1 and count % height == 0:
            return Grid(
                (height, count // height), grid.axes, grid.channel, np.arange(first, first + count), grid.others
            )
    raise MethodError(
        f"layer {layer.name!r} holds {places} tokens for this input and they form no grid: name another layer"
    )


def _features(problem: Problem, layers: list[Layer]) -> list[Layer]:
    """Of the layers before a dense answer, the maps that are not the answer's classes already."""
    found = trace(problem.model)
    answer, shape = found.grid(problem.target.of), found.shapes.get(problem.target.of)
    classes = shape[answer.channel] if answer is not None and shape is not None else 0
    result = []
    for layer in layers:
        grid, own = found.grid(layer.output), found.shapes.get(layer.output)
        if grid is not None and own is not None and own[grid.channel] != classes:
            result.append(layer)
    return result


def _cells(problem: Problem, layer: Layer) -> int:
    shape = trace(problem.model).shapes.get(layer.output)
    if shape is None or layer.map_axes is None:
        grid = trace(problem.model).grid(layer.output)
        return grid.shape[0] * grid.shape[1] if grid is not None else 1 << 40
    return int(np.prod([shape[a] for a in layer.map_axes]))


def _is_dense(problem: Problem) -> bool:
    """Whether the explained value is a map itself."""
    if isinstance(problem.target, ClassTarget):
        return False
    shape = trace(problem.model).shapes.get(problem.target.of)
    grid = trace(problem.model).grid(problem.target.of)
    return grid is not None and shape is not None and problem.target.of in {v.name for v in problem.model.outputs}
