"""Feature visualization as a file: an image to begin with and a number of steps in, the picture out.

The recipe is `optimize/loop.py`'s default: Fourier coefficients divided by frequency, decorrelated colours, a sigmoid;
one random affine map a step, bilinear; Adam. The transforms of Fourier are products with matrices of sines and cosines,
so that only common operators are needed; the maps stand in a table inside the file, those of the seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MethodError, ShapeError
from ...graph.float_input import with_real_input
from ...graph.model import Model
from ...graph.widen import widened
from ..canvas import Canvas, canvas_of, labels_of
from ..fourier import frequencies, painted_size
from ..loop import Recipe
from ..network import check_floats, head_at
from ..objective import Objective
from ..optimisers.adam import Adam
from ..paint import check_size, default_size
from ..parametrisation import EDGE, mixing
from ..parametrisations.fourier import Fourier
from ..transform import Moment, matrix_of
from .graph import IMAGE, SCORE, TABLE, Graph, Loop, floats, gradient_of, seen, with_objective

_VALUES, _MEAN, _SQUARE, _MAP = "loop/values", "loop/mean", "loop/square", "loop/map"


def visualize_loop(
    model: Model, objective: Objective, recipe: Recipe, size: tuple[int, int] | None, note: dict[str, Any]
) -> Model:
    """The file. `note`: what its metadata says besides what is found here.

    The image is float32 (1, C, H, W) in 0..1 of `size`; None: near the receptive field of a unit, the model's own for a
    class. Raises UnknownName, TargetError, GradientError and its subclasses, ShapeError, MethodError (a recipe that is
    not the default's parts), ModelError, CardError.
    """
    _check(recipe)
    canvas = canvas_of(model)
    real = with_real_input(widened(model), canvas.input)
    reads = objective.reads(real)
    check_floats(real, reads)
    head, canvas = _head(real, canvas, objective, reads, size)
    shape = (1, canvas.channels, *canvas.size)
    waves = _Waves(canvas, recipe)
    state = (2, canvas.channels, *waves.scale.shape)
    before = Graph({*head.values, _VALUES, _MAP, _MEAN, _SQUARE})
    image = seen(before, canvas, _warped(before, waves.picture(before, _VALUES), canvas))
    inputs = [floats(_VALUES, state), floats(_MAP, (2, 3))]
    whole, score = with_objective(head, real, canvas, objective, labels_of(model), before, inputs, image)
    gradient, by = gradient_of(whole, score, _VALUES)
    loop = Loop(gradient, {_VALUES: state, _MEAN: state, _SQUARE: state, SCORE: (1,)})
    row = loop.before.op("Mod", loop.number, loop.before.constant(np.int64(TABLE)))
    loop.before.node("Gather", [loop.before.constant(_table(canvas, recipe)), row], [_MAP], axis=0)
    moved = _adam(loop.behind, by, loop.number, recipe.optimiser)
    zeros = loop.outer.constant(np.zeros(state, np.float32))
    starts = [waves.values(loop.outer, IMAGE), zeros, zeros, loop.outer.constant(np.zeros(1, np.float32))]
    values, _, _, last = loop.add(starts, [*moved, score])
    about = {**note, "opset": gradient.opset, "size": list(canvas.size)}
    return loop.model(shape, waves.picture(loop.outer, values), last, about, model)


def _check(recipe: Recipe) -> None:
    if not isinstance(recipe.parametrisation, Fourier) or not isinstance(recipe.optimiser, Adam):
        raise MethodError("a file optimises Fourier coefficients with Adam: leave out other parts")
    if recipe.regularisers or recipe.views != 1 or recipe.schedule != "constant":
        raise MethodError("a file has no regularisers, one view a step and a constant rate: leave out other parts")


def _head(
    model: Model, canvas: Canvas, objective: Objective, reads: tuple[str, ...], size: tuple[int, int] | None
) -> tuple[Model, Canvas]:
    """As `paint` chooses the size."""
    if size is not None:
        check_size(size)
        return head_at(model, canvas.with_size(size), reads, 1), canvas.with_size(size)
    near = canvas.with_size(default_size(model, canvas, objective))
    try:
        return head_at(model, near, reads, 1), near
    except ShapeError:
        if near.size == canvas.size:
            raise
        return head_at(model, canvas, reads, 1), canvas


class _Waves:
    """Between values, real and imaginary parts of half spectra of `painted_size`, and pictures (1, C, H, W)."""

    def __init__(self, canvas: Canvas, recipe: Recipe) -> None:
        assert isinstance(recipe.parametrisation, Fourier)
        self.canvas = canvas
        height, width = size = painted_size(canvas.size)
        floor = np.maximum(frequencies(size), 1 / max(size))
        self.scale = floor**-recipe.parametrisation.decay / 4
        angles = 2 * np.pi * np.outer(np.arange(height), np.arange(height)) / height
        self.down: NDArray[np.float64] = np.exp(1j * angles) / np.sqrt(height)
        across = 2 * np.pi * np.outer(np.arange(width // 2 + 1), np.arange(width)) / width
        self.across: NDArray[np.float64] = np.exp(1j * across) / np.sqrt(width)
        self.even = width % 2 == 0
        self.mixing = mixing(canvas.channels).astype(np.float64)

    def picture(self, graph: Graph, values: str) -> str:
        """(1, C, H, W) in 0..1."""
        times = np.full(self.across.shape[0], 2.0)
        times[0] = 1
        if self.even:
            times[-1] = 1
        height, width = self.canvas.size
        across = (self.across * times[:, None])[:, :width]
        scaled = graph.op("Mul", values, graph.constant(self.scale))
        real, imaginary = _halves(graph, scaled)
        real, imaginary = _product(graph, self.down[:height], real, imaginary)
        plane = graph.op(
            "Sub",
            graph.op("MatMul", real, graph.constant(across.real)),
            graph.op("MatMul", imaginary, graph.constant(across.imag)),
        )
        return graph.op("Sigmoid", graph.op("Conv", plane, graph.constant(self.mixing[:, :, None, None])))

    def values(self, graph: Graph, picture: str) -> str:
        """Of a picture (1, C, H, W)."""
        limits = [graph.constant(np.float32(limit)) for limit in (EDGE, 1 - EDGE)]
        inside = graph.op("Clip", picture, *limits)
        rest = graph.op("Sub", graph.constant(np.float32(1)), inside)
        logits = graph.op("Log", graph.op("Div", inside, rest))
        plane = graph.op("Conv", logits, graph.constant(np.linalg.inv(self.mixing)[:, :, None, None]))
        back = _folded(self.across.conj(), self.canvas.size[1]).T
        real, imaginary = (graph.op("MatMul", plane, graph.constant(part)) for part in (back.real, back.imag))
        real, imaginary = _product(graph, _folded(self.down.conj(), self.canvas.size[0]), real, imaginary)
        return graph.op("Div", graph.op("Concat", real, imaginary, axis=0), graph.constant(self.scale))


def _folded(waves: NDArray[Any], side: int) -> NDArray[Any]:
    """(waves, side): what waves (waves, longer side) take up of a side whose last pixel is repeated."""
    found: NDArray[Any] = waves[:, :side].copy()
    for longer in range(side, waves.shape[1]):
        found[:, -1] += waves[:, longer]
    return found


def _halves(graph: Graph, values: str) -> tuple[str, str]:
    """Real and imaginary parts, (1, C, ...) each."""
    first, second, both = graph.integers(0), graph.integers(1), graph.integers(2)
    return graph.op("Slice", values, first, second, first), graph.op("Slice", values, second, both, first)


def _product(graph: Graph, matrix: NDArray[Any], real: str, imaginary: str) -> tuple[str, str]:
    """A complex matrix times complex columns."""
    parts = [graph.constant(part) for part in (matrix.real, matrix.imag)]
    rr, ii = graph.op("MatMul", parts[0], real), graph.op("MatMul", parts[1], imaginary)
    ri, ir = graph.op("MatMul", parts[0], imaginary), graph.op("MatMul", parts[1], real)
    return graph.op("Sub", rr, ii), graph.op("Add", ri, ir)


def _warped(graph: Graph, picture: str, canvas: Canvas) -> str:
    """The picture through the step's affine map, 0.5 outside."""
    height, width = canvas.size
    y, x = np.mgrid[0:height, 0:width]
    places = np.stack([y.ravel(), x.ravel(), np.ones(height * width)])
    grid = graph.op("MatMul", _MAP, graph.constant(places))
    grid = graph.op("Reshape", graph.op("Transpose", grid, perm=[1, 0]), graph.integers(1, height, width, 2))
    half = graph.constant(np.float32(0.5))
    around = graph.op("Sub", picture, half)
    shown = graph.op("GridSample", around, grid, mode="bilinear", padding_mode="zeros", align_corners=1)
    return graph.op("Add", shown, half)


def _table(canvas: Canvas, recipe: Recipe) -> NDArray[np.float32]:
    """The maps of the first steps, as GridSample wants them: rows of x and y, from -1 to 1 across the picture."""
    rng = np.random.default_rng([recipe.seed, 0])
    recipe.parametrisation.on(canvas).start(rng)  # what is drawn before the first map
    sides = np.array(canvas.size, np.float64)[:, None]
    found = []
    for step in range(TABLE):
        matrix = matrix_of(recipe.transforms, rng, Moment(step, TABLE, canvas.size), canvas.size)
        scaled = matrix * (2 / np.maximum(sides - 1, 1))
        scaled[:, 2] -= 1
        found.append(scaled[::-1])
    return np.array(found, np.float32)


def _adam(graph: Graph, gradient: str, number: str, optimiser: Any) -> list[str]:
    """The next values, mean and square."""
    one = np.float32(1)
    step = graph.op("Cast", graph.op("Add", number, graph.constant(np.int64(1))), to=1)
    found, corrections = [], []
    squared = graph.op("Mul", gradient, gradient)
    for beta, state, new in ((optimiser.beta1, _MEAN, gradient), (optimiser.beta2, _SQUARE, squared)):
        kept = graph.op("Mul", state, graph.constant(np.float32(beta)))
        found.append(graph.op("Add", kept, graph.op("Mul", new, graph.constant(one - np.float32(beta)))))
        power = graph.op("Pow", graph.constant(np.float32(beta)), step)
        corrections.append(graph.op("Sub", graph.constant(one), power))
    root = graph.op("Sqrt", graph.op("Div", found[1], corrections[1]))
    rate = graph.op("Div", graph.constant(np.float32(optimiser.rate)), corrections[0])
    move = graph.op("Div", graph.op("Mul", rate, found[0]), graph.op("Add", root, graph.constant(np.float32(1e-8))))
    return [graph.op("Add", _VALUES, move), *found]
