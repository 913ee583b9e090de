"""What is explained: from a path, a picture or a tensor to the input of the problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..caches import of_model
from ..errors import CardError, MethodError, ModelError, ShapeError
from ..graph.model import Model
from ..inspect.concrete_shapes import concrete_shapes
from ..inspect.signature import image_input
from ..preprocess.card import FIELDS, Card
from ..preprocess.find import find_card
from ..preprocess.image import pixels_of, prepare
from ..preprocess.labels import read_labels

if TYPE_CHECKING:
    from ..preprocess.geometry import Geometry


# What `explain` and `compile` take to say how the input is made and what the output holds.
CARD_OPTIONS = FIELDS


def example_input(model: Model, card: Card | None = None) -> Input:
    """Zeros in the place of the input that is explained: to choose layers by, and to try the model on.

    Raises ModelError for a model without inputs, MethodError for one without a batch axis.
    """
    if not model.inputs:
        raise ModelError("the model has no input: there is nothing to explain its answer by")
    shapes = concrete_shapes(model)
    layout = None
    try:
        found = image_input(model)
        name, layout = found.name, found.layout
    except (ModelError, CardError):
        name = _explained(model)
    if card is not None:
        if layout is None:
            raise MethodError("the model takes no images: there is nothing to preprocess")
        name, layout = card.input or name, card.layout
    if layout is not None and "N" not in layout:
        raise MethodError(f"the input {model.value(name)} has no batch axis: export the model with one to compile it")
    arrays = {}
    for value in model.inputs:
        shape = shapes.get(value.name)
        if shape is None or value.dtype is None:
            raise ModelError(f"the shape of input {value} is not known: it cannot be compiled")
        arrays[value.name] = np.zeros(shape, value.dtype)
    if layout is not None and card is not None:
        size = {"N": arrays[name].shape[0], "H": card.size[0], "W": card.size[1], "C": card.channels}
        arrays[name] = np.zeros([size[a] for a in layout], arrays[name].dtype)
    x = arrays.pop(name)
    card = card or _card(model)
    labels, mapping = (None, None) if card is None else (card.labels, card.to_mapping())
    return Input(name, x, arrays, layout, labels=labels, card=mapping)


def input_of(model: Model, image: ArrayLike | Mapping[str, ArrayLike], card: Card | None = None) -> Input:
    """The input that is explained, its tensor, and what the other inputs are fed.

    card: the model's card where the caller has it already; else it is looked for. Raises ShapeError, UnknownName,
    CardError, ModelError.
    """
    if not isinstance(image, Mapping):
        array = np.asarray(image)
        if _is_picture(model, array):
            return _from_picture(array, card_of(model) if card is None else card, model)
        if len(model.inputs) != 1:
            wanted = ", ".join(str(v) for v in model.inputs)
            raise ShapeError(f"the model has {len(model.inputs)} inputs ({wanted}): give a dict of name to array")
        image = {model.inputs[0].name: array}
    feeds = {name: np.asarray(array) for name, array in image.items()}
    for name in feeds:
        model.value(name)
    layout = None
    try:
        found = image_input(model)
        name, layout = found.name, found.layout
    except (ModelError, CardError):
        name = _explained(model)
    if name not in feeds:
        raise ShapeError(f"the explained input {name!r} is not among those given ({', '.join(feeds)}): give it too")
    declared = model.value(name)
    x = feeds.pop(name)
    batched = layout is None or "N" in layout
    samples = None if declared.rank is None else declared.rank + (not batched)
    if samples is not None and x.ndim == samples - 1:
        x = x[None]
    if samples is not None and x.ndim != samples:
        raise ShapeError(f"input {declared} was given an array of shape {list(x.shape)}: the number of axes differs")
    if not x.size:
        raise ShapeError(f"input {declared} was given an array of shape {list(x.shape)}: there is no sample in it")
    if declared.dtype is not None and declared.dtype.kind == "f" and x.dtype.kind == "f":
        x = x.astype(declared.dtype, copy=False)
    if layout is None:
        labels = _labels(model)
    else:
        card = card or _card(model)
        labels = None if card is None else card.labels
    return Input(name, x, feeds, layout, labels=labels)


def _is_picture(model: Model, array: NDArray[Any]) -> bool:
    """Whether an array is an image, not a ready tensor: uint8, with a rank or a type that the input does not have."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        return False
    if array.ndim == 3:
        return True
    declared = model.inputs[0] if model.inputs else None
    return declared is None or declared.rank != 2


def _from_picture(array: NDArray[np.uint8], card: Card, model: Model) -> Input:
    name = card.input or _image_name(model)
    others = [v for v in model.inputs if v.name != name]
    if others:
        wanted = ", ".join(str(v) for v in others)
        raise ShapeError(f"the model also needs {wanted}: prepare the image and give a dict of name to array")
    prepared = prepare(array, card)
    x = prepared.tensor if card.batched else prepared.tensor[None]
    picture = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
    return Input(
        name, x, {}, card.layout, (prepared.geometry,), (picture,), card.labels, card.warnings, card.to_mapping()
    )


def _image_name(model: Model) -> str:
    return image_input(model).name


@of_model
def card_of(model: Model) -> Card:
    """The model's card, looked for once: it lies in files, and its labels are many. Raises CardError, ModelError."""
    return find_card(model)


def _card(model: Model) -> Card | None:
    try:
        return card_of(model)
    except (CardError, ModelError):
        return None  # only asked for labels and for showing a tensor: neither is needed


def _labels(model: Model) -> tuple[str, ...] | None:
    given = model.overrides.get("labels")
    return read_labels(given, "the options given") if given is not None else None


def _explained(model: Model) -> str:
    """The input that is explained where none takes images: the first one of floats, else the first one."""
    floats = [v.name for v in model.inputs if v.dtype is not None and v.dtype.kind == "f"]
    if not model.inputs:
        raise ModelError("the model has no input: there is nothing to explain its answer by")
    return floats[0] if floats else model.inputs[0].name


def picture(model: Model, given: Input, sample: int) -> NDArray[np.uint8] | None:
    """The image under the map: the original, or what the tensor shows; None where the input is no image."""
    if given.images is not None:
        return given.images[sample]
    if given.layout is None:
        return None
    x = given.x[sample]
    card = _card(model)
    if card is not None and not card.warnings:
        try:
            fields = {**card.to_mapping(), "size": given.plane, "layout": given.layout}
            shown = pixels_of(x, Card.from_mapping(fields))
            return np.asarray(shown[0])
        except (ShapeError, CardError):
            pass  # a channel count that no picture has: shown in gray below
    channel = given.channel
    gray = np.asarray(x, np.float32) if channel is None else np.asarray(x, np.float32).mean(axis=channel - 1)
    low, high = float(np.min(gray)), float(np.max(gray))
    scaled = (gray - low) / (high - low) * 255 if high > low else np.full(gray.shape, 128.0)
    return np.repeat(np.rint(np.nan_to_num(scaled)).astype(np.uint8)[..., None], 3, axis=2)


@dataclass(frozen=True)
class Input:
    """What is explained: `x` (N, ...) for the model's input `name`, and what the other inputs are fed.

    `layout` and `geometries` are known where it is an image: the tensor's axes ("NCHW", ...), and where each sample's
    pixels lie on the original image. `images` are the originals, uint8 (H, W, 3) RGB.
    """

    name: str
    x: NDArray[Any]
    others: Mapping[str, NDArray[Any]]
    layout: str | None = None
    geometries: tuple[Geometry, ...] | None = None
    images: tuple[NDArray[np.uint8], ...] | None = None
    labels: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()
    card: Mapping[str, Any] | None = None

    @property
    def axes(self) -> tuple[int, int] | None:
        """The axes of height and width in `x`, None where it is no image."""
        if self.layout is None:
            return None
        layout = self.layout if "N" in self.layout else "N" + self.layout
        return layout.index("H"), layout.index("W")

    @property
    def channel(self) -> int | None:
        """The channel axis of `x`, None where it has none."""
        if self.layout is None or "C" not in self.layout:
            return None
        return (self.layout if "N" in self.layout else "N" + self.layout).index("C")

    @property
    def planar(self) -> tuple[int, int, int, int] | None:
        """The shape of one sample as the kernels see it: what is before the rows, rows, columns, what is behind."""
        if self.axes is None:
            return None
        shape, (y, x) = self.x.shape, self.axes
        return math.prod(shape[1:y]), shape[y], shape[x], math.prod(shape[x + 1 :])

    @property
    def plane(self) -> tuple[int, int] | None:
        return None if self.axes is None else (self.x.shape[self.axes[0]], self.x.shape[self.axes[1]])
