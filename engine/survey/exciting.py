"""The images of a data set that excite the objectives of an optimisation most, in one pass over any number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...kernels.topk import empty, update
from ..optimize.examples import Scorer
from ..preprocess.card import Card
from ..preprocess.depth import shown
from ..preprocess.image import prepare
from .pictures import Ahead, Picture, entry_of

# Images prepared ahead of the model.
_AHEAD = 8
# The name of an image, and what gives its pixels.
_Read: TypeAlias = tuple[str, Callable[[], NDArray[np.uint8]]]


@dataclass(frozen=True)
class ExcitingImage:
    """An image of a data set: its name, the objective's value for it, and `pixels`, uint8 (H, W, 3), as they are shown.

    The pixels of a file are read again whenever they are asked for (ImageError): all of them may not fit in memory.
    """

    name: str
    value: float
    read: Callable[[], NDArray[np.uint8]] = field(repr=False, compare=False)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return self.read()


def exciting_images(
    scorer: Scorer, card: Card, pictures: Iterable[Picture], count: int = 4, *, least: bool = False
) -> list[tuple[ExcitingImage, ...]]:
    """For every objective of `scorer` the `count` images that excite it most, strongest first; `least`: least.

    pictures: read once, on another thread; those of the same content count once. Pixels are kept only of images that
    are among the best and that no file holds. Raises ShapeError for what is no image, CardError, ModelError.
    """
    sign, best = -1 if least else 1, empty(len(scorer.names), count)
    kept: dict[int, _Read] = {}
    with Ahead(_prepared(card, pictures), _AHEAD) as prepared:
        for number, picture, tensor in prepared:
            if number in kept:
                continue
            update(best, sign * scorer(tensor)[None], np.array([number]))
            kept[number] = picture.name, _reader(picture, card)
            for gone in kept.keys() - set(best.ids.ravel().tolist()):
                del kept[gone]
    return [_row(kept, ids, sign * scores) for ids, scores in zip(best.ids, best.scores, strict=True)]


def _prepared(card: Card, pictures: Iterable[Picture]) -> Iterator[tuple[int, Picture, NDArray[np.generic]]]:
    for picture in pictures:
        yield entry_of(picture, card).id, picture, prepare(picture.pixels, card, threads=1).tensor


def _reader(picture: Picture, card: Card) -> Callable[[], NDArray[np.uint8]]:
    """What gives the pixels as they are shown."""
    if picture.again is None:
        return partial(shown, picture.pixels, card)
    return partial(_shown_again, picture.again, card)


def _shown_again(again: Callable[[], NDArray[Any]], card: Card) -> NDArray[np.uint8]:
    return shown(again(), card)


def _row(kept: dict[int, _Read], ids: Sequence[int], values: NDArray[np.float32]) -> tuple[ExcitingImage, ...]:
    found = [(kept[int(i)], float(value)) for i, value in zip(ids, values, strict=True) if i >= 0]
    return tuple(ExcitingImage(name, value, read) for (name, read), value in found)
