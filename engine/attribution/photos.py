"""Which arrays are images, and which are ready tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caches import of_model
from ..errors import CardError, ModelError, ShapeError
from ..graph.model import Model
from ..inspect.signature import image_input
from ..preprocess.card import Card
from ..preprocess.depth import shown
from ..preprocess.find import find_card
from ..preprocess.geometry import Geometry
from ..preprocess.image import prepare


@of_model
def card_of(model: Model) -> Card:
    """The model's card, looked for once: it lies in files, and its labels are many. Raises CardError, ModelError."""
    return find_card(model)


def card_or_none(model: Model) -> Card | None:
    try:
        return card_of(model)
    except (CardError, ModelError):
        return None  # only asked for labels and for showing a tensor: neither is needed


@of_model
def one_input(model: Model, name: str) -> Model:
    """The model with one of its inputs to be explained, whose card is asked for."""
    overrides = {**model.overrides, "input": name}
    return Model(model.untyped, path=model.path, folder=model.folder, overrides=overrides, inferred=False)


@dataclass(frozen=True, eq=False)
class Photos:
    """Images for an input: its tensor (N, ...), the card by which it is made, and of each image where its pixels lie
    and what is shown of it, uint8 (H, W, 3)."""

    tensor: NDArray[Any]
    card: Card
    geometries: tuple[Geometry, ...]
    pictures: tuple[NDArray[np.uint8], ...]


def prepared_photos(model: Model, name: str, given: Any) -> Photos | None:
    """Images for the input `name`; None for anything else.

    Raises CardError, ModelError, ShapeError.
    """
    if not takes_images(model, name):
        return None
    one = one_input(model, name)
    photos = photos_of(one, given)
    if photos is None:
        return None
    card = card_of(one)
    prepared = [prepare(photo, card) for photo in photos]
    tensor = np.concatenate([p.tensor if card.batched else p.tensor[None] for p in prepared])
    return Photos(tensor, card, tuple(p.geometry for p in prepared), tuple(shown(photo, card) for photo in photos))


def takes_images(model: Model, name: str) -> bool:
    try:
        return image_input(model, name).name == name
    except (ModelError, CardError):
        return False


def photos_of(model: Model, given: Any) -> list[NDArray[Any]] | None:
    """The images that `given` holds, (H, W, 3), (H, W) or (H, W, bands) each; None where it is a ready tensor.

    Images are uint8 or uint16 with a rank or a type that the input does not have: one, several in a list, or (N, H, W,
    3). An axis of one channel is left out, transparent pixels of uint8 are laid over white. Where the card names bands,
    the last axis has them; with its `window`, other numbers are images as well.
    """
    if isinstance(given, (list, tuple)) and given and all(isinstance(part, np.ndarray) for part in given):
        found = [_photo(model, part) for part in given]
        return None if any(part is None for part in found) else [part for part in found if part is not None]
    array = array_of(given)
    if array.ndim == 4 and len(array) and _has_channels_last(model, array) and not _may_be_tensor(model, array[0]):
        return [part for photo in array if (part := _photo(model, photo)) is not None] or None
    one = _photo(model, array)
    return None if one is None else [one]


def _has_channels_last(model: Model, array: NDArray[Any]) -> bool:
    card = None if array.shape[-1] in (1, 3, 4) else card_or_none(model)
    return array.shape[-1] in (1, 3, 4) or (card is not None and card.has_bands and _bands(card) <= array.shape[-1])


def _photo(model: Model, array: NDArray[Any]) -> NDArray[Any] | None:
    """An array as an image of RGB, gray or bands, None where it is none."""
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or 0 in array.shape:
        return None
    if array.dtype not in (np.uint8, np.uint16) and not _has_window(model, array):
        return None
    if array.ndim == 2:
        declared = model.inputs[0] if model.inputs else None
        return None if declared is not None and declared.rank == 2 else array
    card = card_or_none(model) if array.shape[2] != 3 or array.dtype != np.uint8 else None
    if card is not None and card.has_bands:
        fits = array.dtype in (np.uint8, np.uint16) or array.shape[2] >= _bands(card)
        return array if fits and not _may_be_tensor(model, array) else None
    if array.shape[2] == 3:
        return array
    if _may_be_tensor(model, array) or array.shape[2] not in (1, 4):
        return None
    if array.shape[2] == 4:
        return over_white(array) if array.dtype == np.uint8 else None
    return array[..., 0]


def _has_window(model: Model, array: NDArray[Any]) -> bool:
    """Whether numbers that are usually tensors are an image: the card has a window, and they do not fit the input."""
    card = card_or_none(model)
    if card is None or card.window is None:
        return False
    sides = {"H": card.size[0], "W": card.size[1], "C": card.channels}
    return array.shape != tuple(sides[axis] for axis in card.layout.replace("N", ""))


def _bands(card: Card) -> int:
    """How many bands a picture has at least."""
    return 1 + max(card.order) if isinstance(card.order, tuple) else card.channels


def _may_be_tensor(model: Model, array: NDArray[Any]) -> bool:
    """Whether an input is of this type: then arrays of it may be ready tensors, unless the card's window says more."""
    if array.dtype not in (np.uint8, np.uint16):
        return not _has_window(model, array)
    return any(v.dtype == array.dtype for v in model.inputs)


def over_white(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 4), the last channel opacity -> uint8 (H, W, 3): what is transparent lies over white."""
    colour, alpha = image[..., :3].astype(np.uint16), image[..., 3:].astype(np.uint16)
    return np.asarray((colour * alpha + 127) // 255 + (255 - alpha), np.uint16).clip(0, 255).astype(np.uint8)


def about_shown(photos: Sequence[NDArray[Any]], card: Card) -> tuple[str, ...]:
    """What to say of pictures that show less than the model was given."""
    deep = next((p.dtype for p in photos if p.dtype != np.uint8), None)
    if deep is None:
        return ()
    if card.window is None:
        what = f"{card.bits or 16} bits"
    else:
        what = f"values from {card.window[0]:g} to {card.window[1]:g}" if card.window != "none" else f"values of {deep}"
    return (f"the model was given {what}; what lies under the map shows them in 8 bits",)


def array_of(given: Any) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ShapeError(f"the arrays given differ in their shapes ({error}): give samples of one shape") from None
    if array.dtype == object and not (array.size and isinstance(array.flat[0], (str, bytes))):
        raise ShapeError(f"an input cannot be made of {type(given).__name__}: give an image, a path or an array")
    return array
