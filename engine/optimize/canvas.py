"""The picture that is optimised, and how it becomes the network's input: tensor = picture * gain + shift, per channel.

A picture holds numbers in 0..1, (N, C, H, W), with its channels in the order of the eye (RGB). Where a model reads one
or three channels, its card says the rest; of other numbers of channels, `mean` and `std` given to `load` count, else
the picture's 0..1 is the tensor's, or 0..255 where the graph scales pixels itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from ..errors import CardError, ShapeError
from ..graph.model import Model
from ..inspect.own_scaling import own_scaling
from ..inspect.signature import image_input
from ..preprocess.find import find_card


@dataclass(frozen=True)
class Canvas:
    """The input of a model as a picture.

    Attributes: `input` (its name), `layout` (of the tensor: "NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"), `size` (height,
    width) in pixels, `order` (the picture's channel for every channel of the tensor), `gain` and `shift` for every
    channel of the tensor.
    """

    input: str
    layout: str
    size: tuple[int, int]
    order: tuple[int, ...]
    gain: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def channels(self) -> int:
        return len(self.order)

    @property
    def batched(self) -> bool:
        """Whether the tensor has a batch axis."""
        return "N" in self.layout

    @property
    def axes(self) -> tuple[int, int]:
        """The tensor's axes of height and width."""
        return self.layout.index("H"), self.layout.index("W")

    def shape(self, rows: int) -> tuple[int, ...]:
        """Of the tensor for `rows` pictures."""
        sizes = {"N": rows, "C": self.channels, "H": self.size[0], "W": self.size[1]}
        return tuple(sizes[letter] for letter in self.layout)

    def tensor(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """The tensor of (N, C, H, W) that has its channels and units already."""
        axes = ["NCHW".index(letter) for letter in self.layout]
        kept = seen if self.batched else seen[:1]
        moved = kept.transpose(*axes, *[a for a in range(4) if a not in axes])
        return np.ascontiguousarray(moved.reshape(self.shape(len(seen))), np.float32)

    def seen(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """The way back: (N, C, H, W) of a tensor."""
        missing = [letter for letter in "NCHW" if letter not in self.layout]
        letters = self.layout + "".join(missing)
        full = tensor.reshape(*tensor.shape, *[1] * len(missing))
        return np.ascontiguousarray(full.transpose([letters.index(letter) for letter in "NCHW"]), np.float32)

    def with_size(self, size: tuple[int, int]) -> Canvas:
        return replace(self, size=size)

    def shown(self, pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
        """uint8 (N, H, W, 3) of pictures (N, C, H, W): the first three channels, or the only one as gray."""
        visible = pictures[:, :3] if self.channels >= 3 else pictures[:, :1].repeat(3, axis=1)
        pixels = np.clip(np.rint(visible * 255), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))

    def picture(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(C, H, W) in 0..1 of uint8 (H, W, 3) RGB of the canvas's size. Raises ShapeError."""
        if pixels.shape != (*self.size, 3):
            raise ShapeError(f"a picture of shape {pixels.shape} does not fit a canvas of {self.size}")
        planes = np.asarray(pixels.transpose(2, 0, 1), np.float32) / np.float32(255)
        if self.channels == 1:
            return np.asarray(np.tensordot(_LUMINANCE, planes, 1)[None], np.float32)
        if self.channels != 3:
            raise ShapeError(f"an image of 3 channels cannot be laid into one of {self.channels}: give an array")
        return np.asarray(planes, np.float32)


# Weights of ITU-R BT.601, as those of the card's gray.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def picture_of(image: NDArray[Any], canvas: Canvas) -> NDArray[np.float32]:
    """(C, H, W) in 0..1 of the canvas's size. Raises ShapeError."""
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return canvas.picture(np.asarray(resize(np.ascontiguousarray(image), canvas.size)))
    if image.ndim != 3 or image.shape[0] != canvas.channels or image.dtype.kind != "f":
        raise ShapeError(
            f"an image of {image.dtype} {list(image.shape)} does not fit a picture of {canvas.channels} channels: give "
            "uint8 (H, W, 3), or numbers in 0..1 (C, H, W)"
        )
    planes = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32)
    return np.ascontiguousarray(np.asarray(resize(planes, canvas.size)).transpose(2, 0, 1))


def canvas_of(model: Model) -> Canvas:
    """How pictures become the input of `model`. Raises ModelError where it takes none, CardError."""
    image = image_input(model)
    if image.channels not in (1, 3):
        return _many_channels(model)
    card = find_card(model)
    reverse = card.order == "BGR"
    order = tuple(range(card.channels))[:: -1 if reverse else 1]
    gain = tuple(255 / s for s in card.std)
    shift = tuple(-m / s for m, s in zip(card.mean, card.std, strict=True))
    return Canvas(card.input or image.name, card.layout, card.size, order, gain, shift)


def _many_channels(model: Model) -> Canvas:
    image = image_input(model)
    count = image.channels
    given = model.overrides
    if "mean" in given or "std" in given:
        mean, std = (_each(name, given.get(name, (default,)), count) for name, default in (("mean", 0.0), ("std", 1.0)))
        gain, shift = tuple(255 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))
    else:
        high = 255.0 if image.dtype.kind in "iu" or own_scaling(model, image.name) else 1.0
        gain, shift = (high,) * count, (0.0,) * count
    stated = given.get("size") or (image.size[0] or _SIDE, image.size[1] or _SIDE)
    return Canvas(image.name, image.layout, (int(stated[0]), int(stated[1])), tuple(range(count)), gain, shift)


_SIDE = 224


def _each(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    if len(values) not in (1, count):
        raise CardError(f"{name} has {len(values)} values but the model's input has {count} channels")
    return tuple(values) if len(values) == count else tuple(values) * count


def labels_of(model: Model) -> tuple[str, ...] | None:
    """The labels of the model's classes, None where it has none. Raises CardError."""
    given = model.overrides.get("labels")
    if image_input(model).channels not in (1, 3):
        return tuple(given) if given else None
    return find_card(model).labels
