"""What the rules look at: a model, the size of its input, and what its values hold for one picture of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CardError, ModelError, OnnxrayError
from ..graph.model import Model
from ..graph.split import expose
from ..inference.session import run
from ..inspect.concrete_shapes import concrete_shapes
from ..inspect.score_functions import ScoreFunction, score_function
from ..inspect.signature import ImageInput, image_input
from ..preprocess.card import Card
from ..preprocess.find import find_card
from ..preprocess.image import prepare
from ..proto.attributes import attributes
from .layout import Grid

# Of the pyramids that detectors have.
_STRIDES = (
    *((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (8, 16, 32, 64, 128), (4, 8, 16, 32, 64), (16, 32, 64)),
    *((16, 32), (8, 16), (4, 8), (4, 8, 16), (4,), (8,), (16,), (32,), (2, 4), (2, 4, 8)),
)
_ANCHORS = (1, 3, 2, 4, 5, 6, 9)
_MOST_ANCHORS = 12
# What leaves rows where they are.
_MAPS = frozenset(("Softmax", "Sigmoid", "Identity", "Cast", "Mul", "Add", "Sub", "Div", "Exp"))
_UNSIZED = frozenset(("NonZero", "NonMaxSuppression", "Unique", "Compress"))


@dataclass
class Evidence:
    """A model and what is known of it.

    plane: (height, width) of its input. feeds: a picture of noise. hints: what the user or the card says. labels: how
    many classes have a name, None where that is unknown.
    """

    model: Model
    plane: tuple[int, int]
    feeds: Mapping[str, NDArray[Any]]
    hints: Mapping[str, Any]
    labels: int | None
    _arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def arrays(self, names: Sequence[str]) -> list[NDArray[Any]]:
        """What values hold for the picture of noise. Raises ModelError."""
        missing = [name for name in dict.fromkeys(names) if name not in self._arrays]
        if missing:
            part = expose(self.model, missing, only=True)
            fed = {v.name for v in part.inputs}
            self._arrays.update(run(part, {k: v for k, v in self.feeds.items() if k in fed}, missing))
        return [self._arrays[name] for name in names]

    def array(self, name: str) -> NDArray[Any]:
        return self.arrays([name])[0]

    def floats(self) -> list[str]:
        """The outputs that hold floats, in order."""
        return [v.name for v in self.model.outputs if v.dtype is not None and v.dtype.kind == "f"]

    def function(self, name: str) -> ScoreFunction | None:
        """The softmax or sigmoid that a value comes out of."""
        return score_function(self.model, name)

    def is_sized(self, name: str) -> bool:
        """Whether the value's size does not depend on what the image shows."""
        before = self.model.ancestors(name)
        return not any(o in before for n in self.model.graph.node if n.op_type in _UNSIZED for o in n.output)

    def grids(self, count: int) -> tuple[tuple[Grid, ...], int] | None:
        """The places of `count` candidates, level by level, and the anchors of each place."""
        for anchors in _ANCHORS:
            for strides in _STRIDES:
                found = tuple(Grid(self.cells(s), s, anchors) for s in strides)
                if sum(grid.count for grid in found) == count:
                    return found, anchors
        return None

    def levels(self, value: str, axis: int) -> tuple[Grid, ...]:
        """The places of a value's rows (along `axis`), where the graph puts levels together whose sizes tell them.

        Their anchors may differ from level to level, as those of SSD do.
        """
        found: list[Grid] = []
        parts = along(self.model, self, value, axis, _MAPS)
        coarse_first = len(parts) > 1 and parts[0][2] < parts[-1][2]
        for part, _, size in reversed(parts) if coarse_first else parts:
            least = found[-1].stride if found else 1
            fitting = [s for s in (2, 4, 8, 16, 32, 64, 128, 256) if s > least and not size % math.prod(self.cells(s))]
            fitting = [s for s in fitting if size // math.prod(self.cells(s)) <= _MOST_ANCHORS]
            if not fitting:
                return ()
            cells = self.cells(fitting[0])
            anchors = size // math.prod(cells)
            found.append(Grid(cells, fitting[0], anchors, self._is_outer(part, anchors, cells)))
        found = found[::-1] if coarse_first else found
        return tuple(found) if len(found) > 1 else ()

    def _is_outer(self, value: str, anchors: int, cells: tuple[int, int]) -> bool:
        """Whether a table was made of (N, anchors, h, w, K): all places of an anchor follow one another."""
        node = self.model.producer(value)
        if node is None or node.op_type != "Reshape" or anchors == 1:
            return False
        return self.array(node.input[0]).shape[1:4] == (anchors, *cells)

    def cells(self, stride: float) -> tuple[int, int]:
        height, width = self.plane
        return math.ceil(height / stride), math.ceil(width / stride)

    def is_probability(self, array: NDArray[Any]) -> bool:
        return bool(array.size and array.min() >= 0 and array.max() <= 1 + 1e-5)


def usual_plane(model: Model) -> tuple[int, int]:
    """The size of the input where no image is given: the card's. Raises ModelError where the model takes no images."""
    return _card(model, image_input(model)).size


def _card(model: Model, image: ImageInput) -> Card:
    try:
        return find_card(model)
    except OnnxrayError:
        return Card(input=image.name, layout=image.layout, std=(255.0,))  # type: ignore[arg-type]


def evidence(model: Model, plane: tuple[int, int], hints: Mapping[str, Any]) -> Evidence:
    """The evidence of a model at a size of its input. Raises ModelError where it takes no images."""
    image = image_input(model)
    card = _card(model, image)
    feeds = _others(model, image.name)
    feeds[image.name] = _noise(replace(card, size=plane), image)
    return Evidence(model, plane, feeds, hints, None if card.labels is None else len(card.labels))


def _noise(card: Card, image: ImageInput) -> NDArray[Any]:
    """A picture of coarse and fine noise as the model wants it: the same for every call."""
    random, (height, width) = np.random.default_rng(0), card.size
    coarse = random.integers(0, 200, (height // 16 + 1, width // 16 + 1, 3))
    picture = np.kron(coarse, np.ones((16, 16, 1), np.int64))[:height, :width] + random.integers(
        0, 56, (height, width, 3)
    )
    pixels = picture.astype(np.uint8)
    try:
        return prepare(pixels[..., 0] if card.channels == 1 else pixels, card).tensor
    except CardError as error:
        raise ModelError(f"the input {image.name!r} cannot be made of a picture: {error}") from None


def _others(model: Model, name: str) -> dict[str, NDArray[Any]]:
    """Zeros for the other inputs; weights that are listed as inputs keep their values."""
    shapes, stored = concrete_shapes(model), model.initializers
    found = {}
    for value in model.inputs:
        shape = shapes.get(value.name)
        if value.name != name and value.name not in stored and shape is not None and value.dtype is not None:
            found[value.name] = np.zeros(shape, value.dtype)
    return found


def along(
    model: Model, evidence: Evidence, name: str, axis: int, through: frozenset[str] = frozenset(("Identity",))
) -> list[tuple[str, int, int]]:
    """The values that `name` puts together along `axis`: name, axis in it, and size, in their order.

    through: operators that are looked through, by their first input of that rank.
    """
    node = model.producer(name)
    if node is not None and node.op_type in through:
        shape = evidence.array(name).shape
        inside = [i for i in node.input if i in model.values and model.constant(i) is None]
        inside = [i for i in inside if evidence.array(i).shape == shape]
        if inside:
            return along(model, evidence, inside[0], axis, through)
    if node is not None and node.op_type == "Transpose":
        perm = attributes(node).get("perm")
        if isinstance(perm, (list, tuple)):
            return along(model, evidence, node.input[0], int(perm[axis]), through)
    if node is not None and node.op_type == "Concat":
        rank = evidence.array(name).ndim
        given = attributes(node).get("axis", 0)
        if isinstance(given, int) and given % rank == axis:
            return [part for source in node.input for part in along(model, evidence, source, axis, through)]
    array = evidence.array(name)
    return [(name, axis, array.shape[axis])]
