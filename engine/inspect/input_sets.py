"""Inputs that are of one kind and are one question together: images that are compared, the texts of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..caches import of_model
from ..errors import CardError, ModelError
from ..graph.model import Model
from .embedding import table_of
from .recurrent_state import state_inputs
from .signature import ImageInput, image_input


@dataclass(frozen=True)
class InputSet:
    """names: the inputs, two at least. axis: the one along which they are laid next to each other, that of width or of
    tokens. layout: of images, else None. reason: why they are one set."""

    kind: Literal["images", "texts"]
    names: tuple[str, ...]
    axis: int
    layout: str | None
    reason: str


# Channels of what is taken for a picture where the inputs differ: gray, with opacity, RGB, RGB and depth.
_PICTURES = (1, 2, 3, 4)


@of_model
def input_set(model: Model) -> InputSet | None:
    """The inputs that are explained together; None where there are none, or where one is named to be explained."""
    if "input" in model.overrides or len(model.inputs) < 2:
        return None
    return _images(model) or _texts(model)


def _images(model: Model) -> InputSet | None:
    states = state_inputs(model)
    images = [found for v in model.inputs if v.name not in states and (found := _image(model, v.name)) is not None]
    if len(images) < 2 or len({(i.layout, i.dtype) for i in images}) > 1:
        return None
    layout = images[0].layout
    alike = len({(i.channels, i.size) for i in images}) == 1
    if len(layout) != 4 or not (alike or all(i.channels in _PICTURES for i in images)):
        return None
    names = tuple(image.name for image in images)
    reason = f"{len(names)} images" + (" of one size and kind" if alike else "")
    return InputSet("images", names, layout.index("W"), layout, reason)


def _image(model: Model, name: str) -> ImageInput | None:
    try:
        return image_input(model, name)
    except (ModelError, CardError):
        return None


def _texts(model: Model) -> InputSet | None:
    """Ids of tokens of one vocabulary; positions and the ids of sides choose rows of other tables."""
    tables = {v.name: table_of(model, v.name) for v in model.inputs if v.dtype is not None and v.dtype.kind in "iu"}
    ids = [name for name, table in tables.items() if table is not None and model.value(name).rank == 2]
    said = decoder_ids(ids)
    if said is not None:
        return InputSet("texts", said, 1, None, "the ids of an encoder and a decoder")
    same = tuple(name for name in ids if tables[name] == tables[ids[0]])
    if len(same) < 2:
        return None
    return InputSet("texts", same, 1, None, f"{len(same)} inputs choose rows of tables of one size")


def decoder_ids(ids: Sequence[str]) -> tuple[str, str] | None:
    """Of two inputs of token ids, that of an encoder and that of a decoder, by name; None where they are no such."""
    of_decoder = [name for name in ids if "decoder" in name.lower()]
    if len(ids) != 2 or len(of_decoder) != 1:
        return None
    return next(name for name in ids if name not in of_decoder), of_decoder[0]
