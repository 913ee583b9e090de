"""The images of a survey: decoded, named by their content, prepared ahead of the model on another thread."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..preprocess.card import Card

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """An image of a data set: its name, its class where that is known, and `pixels`.

    These are uint8 (H, W, 3) RGB or (H, W), or what else the model's card reads. `again` reads them once more, so that
    they need not be kept; None where there is no file.
    """

    name: str
    pixels: NDArray[Any]
    label: str | None = None
    again: Callable[[], NDArray[Any]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ImageEntry:
    """What a result keeps of an image: sha256 of its shape and pixels, its name, its class, (height, width)."""

    sha256: str
    name: str
    label: str | None
    size: tuple[int, int]

    @property
    def id(self) -> int:
        """A number of 63 bits that stands for the content."""
        return id_of(self.sha256)


def check_picture(picture: Picture, card: Card) -> None:
    """Raises ShapeError where the pixels are no image; numbers of other types are one where the card has a window."""
    pixels = picture.pixels
    known = pixels.dtype in (np.uint8, np.uint16) or (pixels.dtype.kind in "uif" and card.window is not None)
    if not known or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ShapeError(
            f"the image {picture.name!r} must be uint8 (H, W, 3) RGB or (H, W), got {pixels.dtype} {pixels.shape}"
        )


def entry_of(picture: Picture, card: Card) -> ImageEntry:
    """Raises ShapeError where the pixels are no image."""
    check_picture(picture, card)
    pixels = picture.pixels
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return ImageEntry(digest.hexdigest(), picture.name, picture.label, (pixels.shape[0], pixels.shape[1]))


def id_of(sha256: str) -> int:
    """The first 63 bits."""
    return int(sha256[:16], 16) >> 1


def first_of(one: ImageEntry | None, other: ImageEntry) -> ImageEntry:
    """Of two entries of the same content, the one whose name comes first."""
    return other if one is None or (other.name, other.label or "") < (one.name, one.label or "") else one


def pictures_of(images: Iterable[Any]) -> Iterator[Picture]:
    """What a user gives as `Picture`s. Raises ShapeError for something that is no image."""
    for number, item in enumerate(images):
        if isinstance(item, Picture):
            yield item
        elif isinstance(item, np.ndarray):
            yield Picture(str(number), item)
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], np.ndarray):
            yield Picture(str(item[0]), item[1])
        else:
            raise ShapeError(
                f"image {number} is a {type(item).__name__}: give uint8 (H, W, 3) arrays, pairs of a name and an "
                "array, or Pictures"
            )


class Ahead(Generic[T]):
    """An iterator over `items` that another thread advances, at most `most` items ahead; a context manager.

    An exception of `items` is raised where its item would have come.
    """

    def __init__(self, items: Iterable[T], most: int) -> None:
        self._queue: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(items,), name="onnxray-images", daemon=True)
        self._thread.start()

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        while True:
            item, error, last = self._queue.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # None only where T has it

    def close(self) -> None:
        """Stop the thread; it ends after the item it is at."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _work(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._queue.put((item, None, False))
                if self._stopped.is_set():
                    return
            self._queue.put((None, None, True))
        except BaseException as error:
            self._queue.put((None, error, True))
