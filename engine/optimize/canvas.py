"""The picture that is optimised, and how it becomes the network's input: tensor = picture * gain + shift, per channel.

A picture holds numbers in 0..1, (N, C, H, W), with its channels in the order of the eye (RGB), of a model of bands in
the model's own. The model's card says the rest. Where its `window` is "none", 0..1 reaches two standard deviations to
both sides of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.resize import resize
from ..errors import ShapeError
from ..graph.model import Model
from ..inspect.signature import image_input
from ..preprocess.card import Card
from ..preprocess.find import find_card
from ..preprocess.image import in_channels


@dataclass(frozen=True)
class Canvas:
    """The input of a model as a picture.

    Attributes: `input` (its name), `layout` (of the tensor: "NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"), `size` (height,
    width) in pixels, `order` (the picture's channel for every channel of the tensor), `gain` and `shift` for every
    channel of the tensor; `visible`: the channels that are shown as red, green and blue, or the one in gray; `card`:
    the model's.
    """

    input: str
    layout: str
    size: tuple[int, int]
    order: tuple[int, ...]
    gain: tuple[float, ...]
    shift: tuple[float, ...]
    visible: tuple[int, ...] = (0, 1, 2)
    card: Card | None = None

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
        """uint8 (N, H, W, 3) of pictures (N, C, H, W): the channels that the card displays, or the only one as gray."""
        seen = [channel for channel in self.visible if channel < self.channels]
        visible = pictures[:, seen] if len(seen) == 3 else pictures[:, seen[:1]].repeat(3, axis=1)
        pixels = np.clip(np.rint(visible * 255), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))

    def planes_of(self, photo: NDArray[Any]) -> NDArray[np.float32] | None:
        """(C, H, W) in 0..1 of a picture of more than 8 bits or of bands, as the card reads it; None of other arrays.

        Raises CardError, ShapeError.
        """
        card = self.card
        deep = photo.dtype == np.uint16 or (photo.dtype == np.uint8 and card is not None and card.has_bands)
        if card is None or not deep or photo.ndim not in (2, 3):
            return None
        pixels = in_channels(photo, card)
        units = np.atleast_3d(pixels).astype(np.float32).transpose(2, 0, 1)
        mean, std, gain, shift = (
            np.asarray(values, np.float32).reshape(-1, 1, 1) for values in (card.mean, card.std, self.gain, self.shift)
        )
        if not card.has_bands:
            return np.ascontiguousarray(units / np.float32(255))
        return np.asarray(np.clip(((units - mean) / std - shift) / gain, 0, 1), np.float32)

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
    """(C, H, W) in 0..1 of the canvas's size. Raises ShapeError, CardError."""
    planes = canvas.planes_of(image)
    if planes is not None:
        moved = np.ascontiguousarray(planes.transpose(1, 2, 0))
        return np.ascontiguousarray(np.asarray(resize(moved, canvas.size)).transpose(2, 0, 1))
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
    card = find_card(model)
    reverse = card.order == "BGR"
    order = tuple(range(card.channels))[:: -1 if reverse else 1]
    gain = tuple(255 / s for s in card.std)
    shift = tuple(-m / s for m, s in zip(card.mean, card.std, strict=True))
    if card.window == "none" and any(m or s != 1 for m, s in zip(card.mean, card.std, strict=True)):
        gain, shift = (2 * _REACH,) * card.channels, (-_REACH,) * card.channels
    elif card.window == "none":
        gain, shift = (1.0,) * card.channels, (0.0,) * card.channels
    visible = tuple(map(card.channel_of, card.shown_bands)) if card.has_bands else (0, 1, 2)[: card.channels]
    return Canvas(card.input or image.name, card.layout, card.size, order, gain, shift, visible, card)


# Standard deviations to either side of the mean that a picture's 0..1 reaches, where no window says more.
_REACH = 2.0


def labels_of(model: Model) -> tuple[str, ...] | None:
    """The labels of the model's classes, None where it has none. Raises CardError."""
    return find_card(model).labels
