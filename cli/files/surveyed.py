"""The images of a survey as a user of Python gives them: folders, patterns, paths, Pillow images, arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from ...engine.preprocess.card import Card
from ...engine.survey.pictures import Picture, pictures_of
from .given import pixels_of
from .labelled import find_labelled, pictures
from .photos import read_photo


def surveyed(images: Any, card: Card | None) -> Iterator[Picture]:
    """The images, decoded when their turn comes. Raises ImageError, ShapeError."""
    if isinstance(images, str | os.PathLike):
        return pictures(find_labelled(images), card)
    if isinstance(images, list | tuple) and images and all(isinstance(i, str | os.PathLike) for i in images):
        return pictures(find_labelled(images), card)
    return pictures_of(_decoded_each(images, card))


def _decoded_each(images: Iterable[Any], card: Card | None) -> Iterator[Any]:
    for item in images:
        pixels, source, _ = pixels_of(item, card)
        yield pixels if source is None else Picture(source, pixels, again=partial(read_photo, source, card))
