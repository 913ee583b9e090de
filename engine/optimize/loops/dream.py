"""DeepDream as a file: an image and a number of steps in, the dream out; one octave.

Each step is that of `optimize/dream/octaves.py`: the picture moved by a shift and mirrored at its edges, the gradient
moved back, multiplied by the covariance of colours, blurred, followed by `rate` per mean magnitude. Shifts stand in a
table inside the file, those of the seed's first octave.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ....kernels.gradients import gaussian
from ...errors import ShapeError
from ...graph.dynamic_batch.make_dynamic import make_dynamic
from ...graph.float_input import with_real_input
from ...graph.free_size.make_free import free_size
from ...graph.model import Model
from ...graph.split import expose
from ...graph.upgrade import GRADIENT_OPSET, upgraded
from ...graph.widen import widened
from ..canvas import Canvas, canvas_of, labels_of
from ..dream.octaves import shifts
from ..dream.recipe import DreamRecipe
from ..network import check_floats, check_reads
from ..objectives.layer import WholeLayer
from ..parametrisation import mixing
from .graph import IMAGE, SCORE, TABLE, Graph, Loop, floats, gradient_of, seen, whole_numbers, with_objective

_SHIFT, _STATE = "loop/shift", "loop/picture"


def dream_loop(model: Model, layer: str, recipe: DreamRecipe, note: dict[str, Any]) -> Model:
    """The file. `note`: what its metadata says besides what is found here.

    The image is float32 (1, C, height, width) in 0..1, of any size if the network takes any, with sides of at least 17
    pixels. Raises UnknownName, GradientError and its subclasses, ShapeError, ModelError, CardError.
    """
    canvas = canvas_of(model)
    objective = WholeLayer(layer)
    real = with_real_input(widened(model), canvas.input)
    head, sides = free_head(real, canvas, objective.reads(real))
    shape = (1, canvas.channels, *sides)
    before = Graph({*head.values, _SHIFT, _STATE})
    image = seen(before, canvas, _moved(before, _STATE, recipe))
    inputs = [floats(_STATE, shape), whole_numbers(_SHIFT, [2])]
    whole, score = with_objective(head, real, canvas, objective, labels_of(model), before, inputs, image)
    gradient, by = gradient_of(whole, score, _STATE)
    loop = Loop(gradient, {_STATE: shape, SCORE: (1,)})
    table = np.array(list(itertools.islice(shifts(recipe, 0), TABLE)), np.int64)
    row = loop.before.op("Mod", loop.number, loop.before.constant(np.int64(TABLE)))
    loop.before.node("Gather", [loop.before.constant(table), row], [_SHIFT], axis=0)
    step = _step(loop.behind, by, canvas.channels, recipe)
    moved = loop.behind.op("Add", _STATE, step)
    limits = [loop.behind.constant(np.float32(limit)) for limit in (0, 1)]
    picture = loop.behind.op("Clip", moved, *limits)
    picture, last = loop.add([IMAGE, loop.outer.constant(np.zeros(1, np.float32))], [picture, score])
    return loop.model(shape, picture, last, {**note, "opset": gradient.opset, "size": list(sides)}, model)


def free_head(model: Model, canvas: Canvas, values: tuple[str, ...]) -> tuple[Model, tuple[int | str, int | str]]:
    """The part up to `values` for one picture of any size, and its (height, width), numbers where they are fixed.

    Raises GradientError where nothing of it depends on the image or it is made of integers.
    """
    check_floats(model, values)
    head = expose(model, values, only=True)
    check_reads(head, canvas, values)
    sides: tuple[int | str, int | str] = ("height", "width")
    try:
        head = free_size(head, canvas.input, canvas.axes)
    except ShapeError:  # the file then takes that size only, as its input says
        sides = canvas.size
    declared = head.value(canvas.input).shape
    if canvas.batched and declared is not None and declared[canvas.layout.index("N")] not in (1, None):
        head = make_dynamic(head)
    sizes = {"N": 1, "C": canvas.channels, "H": sides[0], "W": sides[1]}
    with head.edited() as edit:
        for info in edit.graph.input:
            if info.name == canvas.input:
                info.CopyFrom(floats(canvas.input, [sizes[letter] for letter in canvas.layout]))
        del edit.graph.value_info[:]
        for info in edit.graph.output:
            info.type.tensor_type.ClearField("shape")
    return upgraded(edit.model, GRADIENT_OPSET), sides


def _moved(graph: Graph, picture: str, recipe: DreamRecipe) -> str:
    """The picture moved by the shift, mirrored at its edges."""
    if recipe.jitter == 0:
        return picture
    reach = recipe.jitter
    padded = graph.op("Pad", picture, graph.integers(0, 0, reach, reach, 0, 0, reach, reach), mode="reflect")
    first = graph.op("Sub", graph.integers(reach, reach), _SHIFT)
    sides = graph.op("Shape", picture, start=2, end=4)
    return graph.op("Slice", padded, first, graph.op("Add", first, sides), graph.integers(2, 3))


def _step(graph: Graph, gradient: str, channels: int, recipe: DreamRecipe) -> str:
    """What is added to the picture."""
    value = gradient
    if recipe.colours and channels == 3:
        colours = mixing(channels)
        value = graph.op("Conv", value, graph.constant((colours @ colours.T).astype(np.float32)[:, :, None, None]))
    if recipe.blurs:
        value = _blurred(graph, value, channels, recipe.blurs)
    mean = graph.op("ReduceMean", graph.op("Abs", value), keepdims=0)
    mean = graph.op("Max", mean, graph.constant(np.float32(1e-30)))
    return graph.op("Mul", value, graph.op("Div", graph.constant(np.float32(recipe.rate)), mean))


def _blurred(graph: Graph, value: str, channels: int, sigmas: tuple[float, ...]) -> str:
    """The sum of the blurs: one convolution along the rows for all of them, one along the columns that adds them up."""
    lines = [gaussian(sigma) for sigma in sigmas]
    reach = max(len(line) for line in lines) // 2
    even = np.stack([np.pad(line, reach - len(line) // 2) for line in lines])
    padded = graph.op("Pad", value, graph.integers(0, 0, reach, reach, 0, 0, reach, reach), mode="reflect")
    across = np.tile(even[:, None, None, :], (channels, 1, 1, 1))
    down = np.tile(even[None, :, :, None], (channels, 1, 1, 1))
    rows = graph.op("Conv", padded, graph.constant(across), group=channels)
    return graph.op("Conv", rows, graph.constant(down), group=channels)
