"""The layer that class activation maps are taken at: the named one, or the last one with positions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..errors import Disconnected, GradientError, MethodError, OnnxrayError
from ..graph.model import Model
from ..inspect.blocked_layout import BLOCKED, blocked_values
from ..inspect.layers import Layer, along_signal, channel_axes, find_layer
from ..inspect.position_trace import trace
from ..inspect.token_grid import Grid
from ..proto.nodes import label
from ..proto.operators import CONVOLUTIONS
from ..targets.resolved import ClassTarget
from ..targets.target import Target
from .advice import advised
from .box_layers import REASON as BOX_REASON
from .box_layers import fork_layers, is_of_box
from .inputs import example_input
from .problem import Problem
from .quantised_maps import is_quantised_map, read_by_size_only, zero_of

_NORMS = frozenset(
    """LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization SkipSimplifiedLayerNormalization
    RMSNormalization""".split()
)


# What passes classes on, each by itself or all together.
_CARRIERS = frozenset(
    "Identity Cast Reshape Flatten Squeeze Unsqueeze Transpose Sigmoid Softmax LogSoftmax Mul Div Add Sub".split()
)


@dataclass(frozen=True)
class MapPlace:
    """A layer to make a map at: its `name`, its `value`, how that is read as maps, and why it was taken.

    `zero` is the integer that stands for 0 in a quantised value. `sizes` are those of the axes of places where these
    are no rows and columns of an image: along a signal (1) or a volume (3). `warnings` say what speaks against the
    layer.
    """

    name: str
    value: str
    grid: Grid
    reason: str
    zero: int = 0
    sizes: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

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

    Raises MethodError, UnknownName, Disconnected for a named layer that the target is not computed from.
    """
    if problem.layers:
        named = [_seen(problem, _named(problem, name)) for name in problem.layers]
        return list({place.value: place for place in named}.values())
    if is_of_box(problem):
        found = fork_layers(problem, fitting_layers(problem.model))
        grids = [(layer, _grid(problem, layer)) for layer in found]
        places = [_place(problem, layer, grid, BOX_REASON) for layer, grid in grids if grid is not None]
        if places:
            return places
    return [_best(problem, gradients)]


def usual_place(model: Model) -> tuple[str, str]:
    """The layer that is taken for the predicted class, and why: of a dense answer, for its predicted region.

    Raises MethodError where no layer fits, and what is wrong with the model.
    """
    failures: list[OnnxrayError] = []
    for target in (Target.of(None), Target.region()):
        try:
            place = _best(Problem(model, example_input(model), target), gradients=True)
        except OnnxrayError as error:
            failures.append(error)
        else:
            return place.name, place.reason
    fitting = fitting_layers(model)
    if not fitting:
        raise failures[0]
    return fitting[-1].name, "the last one that fits"


def why_fitting(model: Model, layer: Layer) -> tuple[bool, str]:
    """Whether class activation mapping takes the layer, and why or why not."""
    if layer not in fitting_layers(model):
        return False, layer.cam_reason if not layer.cam else "its values are no map of the image when they are followed"
    if layer.cam:
        return True, layer.cam_reason
    return True, _NOT_BY_SHAPE if layer.map_axes is None or len(layer.map_axes) == 2 else "channels along the input"


_NOT_BY_SHAPE = "a vector for every place of the image, by the positions followed through the graph"


def _named(problem: Problem, name: str) -> MapPlace:
    layer = find_layer(problem.model, name)
    grid = _grid(problem, layer)
    reason = "as given"
    if grid is None and _is_plain_map(problem, layer):
        grid, reason = Grid((0, 0), (2, 3), 1), "as given, read as (N, channels, rows, columns)"
    if grid is None:
        shape = None if layer.shape is None else list(layer.shape)
        what = (
            f"its values of shape {shape} are a token sequence that is not a grid of the image"
            if layer.shape is not None and len(layer.shape) == 3 and layer.output not in blocked_values(problem.model)
            else layer.cam_reason
        )
        fitting = [entry.name for entry in fitting_layers(problem.model)][-3:]
        hint = f"; layers that are maps: {', '.join(fitting)}" if fitting else ""
        raise MethodError(f"layer {layer.name!r} ({layer.op}) is not a map of the image: {what}{hint}")
    return _place(problem, layer, grid, reason)


def _seen(problem: Problem, place: MapPlace) -> MapPlace:
    """The place. Raises Disconnected where the target is not computed from it: its map would say nothing of it."""
    of = problem.target.of
    if place.value != of and place.value not in problem.model.ancestors(of):
        raise Disconnected(f"{of!r} does not depend on the layer {place.name!r}: choose a layer before it")
    return place


def _place(problem: Problem, layer: Layer, grid: Grid, reason: str, warnings: tuple[str, ...] = ()) -> MapPlace:
    sizes: tuple[int, ...] = ()
    if layer.map_axes is not None and len(layer.map_axes) != 2:
        value = problem.runs.activations([layer.output])[layer.output]
        sizes = tuple(value.shape[a] for a in layer.map_axes)
    return MapPlace(layer.name, layer.output, grid, reason, zero_of(problem.model, layer), sizes, warnings)


def _best(problem: Problem, gradients: bool) -> MapPlace:
    model, of = problem.model, problem.target.of
    before = model.ancestors(of) - {of} - read_by_size_only(model)
    fitting = [layer for layer in fitting_layers(model) if layer.output in before]
    if not gradients:
        fitting += _quantised_behind(model, before, fitting)
    if not fitting:
        if before & blocked_values(model):
            raise MethodError(f"no layer before {of!r} is a map of the image: {BLOCKED}")
        whole = gradients and bool(_quantised_behind(model, before, fitting))
        remedy = advised(problem, more=("recipro-cam",) if whole else ())
        raise MethodError(f"no layer before {of!r} is a float map of the image: use {remedy}")
    warnings: tuple[str, ...] = ()
    if _is_dense(problem):
        # At full resolution a dense answer looks at its own place only: the coarsest maps have seen the most.
        fitting = _features(problem, fitting) or fitting
        sizes = {layer.output: _cells(problem, layer) for layer in fitting}
        least = min(sizes.values())
        chosen = [layer for layer in fitting if sizes[layer.output] == least][-1]
        reason = "the last layer of the coarsest maps, as the answer is a map itself"
    else:
        chosen = fitting[-1]
        warnings = _passed_over(problem, chosen, fitting)
        reason = f"the last layer of {chosen.cam_reason}"
        if chosen.map_axes is not None and len(chosen.map_axes) != 2:
            what = "signal" if len(chosen.map_axes) == 1 else "volume"
            reason = f"the last layer with channels along the {what}"
        elif not chosen.cam and chosen.map_axes is not None:
            reason = "the last quantised map of the image"
        elif not chosen.cam and _is_followed_map(model, chosen):
            reason = "the last layer that is a map of the image, by the positions followed through the graph"
        elif chosen.map_axes is None:
            reason = "the last layer that holds a vector for every patch of the image and that influences the answer"
    grid = _grid(problem, chosen)
    assert grid is not None
    if grid.others:
        left = "the class token is" if grid.others == 1 else f"{grid.others} tokens without a place are"
        reason += f"; {left} ignored"
    return _place(problem, chosen, grid, reason, warnings)


def _quantised_behind(model: Model, before: Collection[str], fitting: list[Layer]) -> list[Layer]:
    """Maps of integers behind the last of floats; what was only just quantised is that one once more."""
    found = [layer for layer in model.layers if layer.output in before and is_quantised_map(model, layer)]
    if not fitting:
        return found
    last = fitting[-1].output
    return [layer for layer in found if layer.op != "QuantizeLinear" and last in model.ancestors(layer.output)]


def _passed_over(problem: Problem, chosen: Layer, fitting: list[Layer]) -> tuple[str, ...]:
    """A warning where layers behind the chosen one may be maps too and could not be taken for ones."""
    model, of = problem.model, problem.target.of
    blocked = blocked_values(model)
    missed = _missed(model, of, chosen.output, frozenset(layer.output for layer in fitting))
    if not missed:
        return ()
    last = missed[-1]
    told = f"the layer {chosen.name!r} is not the last that may be a map: {last.name!r} ({last.op}) lies behind it"
    if last.output in blocked:
        return (f"{told}, but {BLOCKED}",)
    lost = [node for node in trace(model).lost() if chosen.output in model.ancestors(node.output[0])]
    where = [label(node) for node in lost if node.output[0] in model.ancestors(last.output)]
    why = f" (they are lost at {where[0]})" if where else ""
    plain = _is_plain_map(problem, last)
    remedy = f"compare with layer={last.name!r}" if plain else "compare with another method, such as occlusion"
    return (f"{told}, and where its values lie in the image could not be followed{why}: {remedy}",)


@of_model
def _missed(model: Model, of: str, chosen: str, known: Collection[str]) -> list[Layer]:
    """Layers between the chosen value and `of` that may be maps and are not among those known to be."""
    before, blocked = model.ancestors(of), blocked_values(model)
    behind = [
        layer
        for layer in model.layers
        if layer.output in before and layer.output not in known and chosen in model.ancestors(layer.output)
    ]
    return [layer for layer in behind if layer.output in blocked or _may_be_map(model, layer)]


def _may_be_map(model: Model, layer: Layer) -> bool:
    """Whether a layer that is not known to be a map has the shape of one: a convolution, or a stream of tokens."""
    shape = trace(model).shapes.get(layer.output)
    if shape is None or trace(model).grid(layer.output) is not None:
        return False
    if layer.op.rpartition(".")[2] in CONVOLUTIONS:
        return len(shape) == 4 and shape[1] >= 4 and shape[2] >= 2 and shape[3] >= 2
    return len(shape) == 3 and shape[1] >= 4 and _is_stream(layer) and bool(trace(model).positions)


def _is_plain_map(problem: Problem, layer: Layer) -> bool:
    """Whether a layer that the positions were lost before can be read as (N, C, H, W) where the user says so."""
    shape = trace(problem.model).shapes.get(layer.output)
    return (
        problem.input.axes is not None
        and layer.op.rpartition(".")[2] in CONVOLUTIONS
        and layer.output not in blocked_values(problem.model)
        and shape is not None
        and len(shape) == 4
        and shape[2] >= 2
        and shape[3] >= 2
    )


def depends(problem: Problem, place: MapPlace) -> bool:
    """Whether the target has a slope at a layer; True where that cannot be known, for want of a gradient anywhere."""
    try:
        return bool(problem.gradients.by([place.value])[place.value].any())
    except Disconnected:
        return False
    except GradientError:
        return True


def may_miss(problem: Problem) -> bool:
    """Whether the target may be about another branch than the last layer: no class, or one of classes side by side."""
    if not isinstance(problem.target, ClassTarget):
        return True
    node = problem.model.producer(problem.target.of)
    while node is not None and node.op_type in _CARRIERS:
        node = problem.model.producer(node.input[0])
    return node is not None and node.op_type == "Concat"


def reached(problem: Problem, instead_of: MapPlace) -> MapPlace:
    """Of several branches, the last layer that the target has a slope at; where that is 0 everywhere, the place given
    or the last layer that a gradient reaches. Raises MethodError where it reaches none.
    """
    before = problem.model.ancestors(problem.target.of) - {problem.target.of}
    fitting = [layer for layer in fitting_layers(problem.model) if layer.output in before]
    connected: list[Layer] = []
    for layer in reversed(fitting):
        try:
            gradient = problem.gradients.by([layer.output])[layer.output]
        except GradientError:
            continue  # a branch that ends in a choice: non-maximum suppression
        connected.append(layer)
        if gradient.any():
            return _reached(problem, layer)
    if any(layer.output == instead_of.value for layer in connected):
        return instead_of
    if not connected:
        raise MethodError(
            f"{problem.target.of!r} has no gradient at any map of the image: a choice, such as non-maximum "
            f"suppression, lies behind {instead_of.name!r}: use {advised(problem)}"
        )
    return _reached(problem, connected[0])


def _reached(problem: Problem, layer: Layer) -> MapPlace:
    grid = _grid(problem, layer)
    assert grid is not None
    return _place(problem, layer, grid, "the last map that this target depends on")


def _has_plane(layer: Layer, sizes: tuple[int, ...] | None) -> bool:
    """Whether the layer's value is (N, C, h, w) in some order behind N."""
    axes = layer.map_axes or ()
    return sizes is not None and len(sizes) == 4 and len(set(axes)) == 2 and 0 not in axes


@of_model
def fitting_layers(model: Model) -> tuple[Layer, ...]:
    """Layers that class activation mapping fits, in graph order: convolutional maps, and residual streams of tokens."""
    found = trace(model)
    sources = found.sources()
    return tuple(
        layer
        for layer in model.layers
        if (layer.cam and _has_plane(layer, found.shapes.get(layer.output)))
        or along_signal(model, layer)
        or (layer.output in sources and _is_stream(layer) and found.grid(layer.output) is not None)
        or (layer.output in sources and _is_followed_map(model, layer))
    )


def _is_followed_map(model: Model, layer: Layer) -> bool:
    """Whether the layer is a map (N, C, H, W) behind height and width that were merged and restored: a channel shuffle.

    Convolutions only: what they give is the next layer's input, whatever lies between.
    """
    if layer.map_axes is not None or layer.op.rpartition(".")[2] not in CONVOLUTIONS:
        return False
    value, shape = model.values[layer.output], trace(model).shapes.get(layer.output)
    if value.dtype is None or value.dtype.kind != "f" or shape is None or len(shape) != 4 or shape[1] < 4:
        return False
    grid = trace(model).grid(layer.output)
    return grid is not None and grid.order is None and grid.channel == 1


def _is_stream(layer: Layer) -> bool:
    """Whether it is a residual sum or a normalisation: what one block of a transformer hands to the next."""
    if layer.op.rpartition(".")[2] in _NORMS:
        return True
    return layer.op == "Add" and len(layer.inputs) == 2


def _grid(problem: Problem, layer: Layer) -> Grid | None:
    """How the layer's value is read as maps, at the size of this problem's input."""
    model = problem.model
    if along_signal(model, layer):
        return _along(problem, layer)
    sizes = trace(model).shapes.get(layer.output)  # as `layer.cam` was decided: where inference ends, by a run
    if layer.map_axes is not None and len(layer.map_axes) == 2 and 0 not in layer.map_axes and _has_plane(layer, sizes):
        (channel,) = [a for a in range(1, 4) if a not in layer.map_axes]
        shape = (layer.shape or (None,) * 4)[layer.map_axes[0]], (layer.shape or (None,) * 4)[layer.map_axes[1]]
        known = tuple(d if isinstance(d, int) else 0 for d in shape)
        return Grid((known[0], known[1]), tuple(layer.map_axes), channel)
    grid = trace(model).grid(layer.output)
    if grid is None or grid.order is None:
        return grid
    return _fitted(problem, layer, grid)


def _along(problem: Problem, layer: Layer) -> Grid:
    """A map along a signal as one row, a volume's with all rows of a slice in one."""
    assert layer.map_axes is not None
    value = problem.runs.activations([layer.output])[layer.output]
    sizes = [value.shape[a] for a in layer.map_axes]
    (channel,) = channel_axes(layer.shape or value.shape, layer.map_axes)
    rows, columns = (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1] * sizes[2])
    return Grid((rows, columns), tuple(layer.map_axes), channel, np.arange(rows * columns))


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
