"""From an image to the input tensor of a model, as its card says, and from the model's pixels back to the image's.

Coordinates are continuous, (y, x), in pixels: pixel (i, j) covers [i, i + 1) x [j, j + 1), its centre is at
(i + 1/2, j + 1/2). The image of H x W pixels is scaled to rh x rw and laid on the model's plane of h x w at the offset
(top, left), negative where it is cropped, positive where it is padded; every way of resizing is that, with whole
numbers. So

    model y = original y * rh / H + top        model x = original x * rw / W + left

holds exactly, and with it a map over the model's plane lands on the original image where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...kernels.resize import Filter, resize
from ..errors import ShapeError
from .card import Card
from .depth import bands_of, levels, stretched
from .find import find_card
from .geometry import Geometry, place


@dataclass(frozen=True)
class Prepared:
    """What goes into the model, and where it came from. `tensor` has the model's layout, with a batch of one."""

    tensor: NDArray[Any]
    geometry: Geometry


def prepare(image: NDArray[Any], card: Card, *, threads: int | None = None) -> Prepared:
    """The input tensor for one image, (1, ...) in the card's layout and dtype, and its geometry.

    image: uint8 (H, W, 3) RGB, or (H, W) gray. It is resampled as uint8, as Pillow does, then normalised in float32;
    integer tensors are rounded and clipped to their range. A layout without N gives a tensor without a batch axis.
    uint16 of the same shapes become pixels as the card's `bits` or `window` say and are resampled in float32; so are
    other numbers where there is a `window`. Where the card's `order` names bands: (H, W, bands) of any of these.

    Raises ShapeError for another dtype or shape, CardError where the card does not say what the numbers mean.
    """
    tensor, (geometry,) = prepare_batch([image], card, threads=threads)
    return Prepared(tensor, geometry)


def prepare_batch(
    images: Sequence[NDArray[Any]], card: Card, *, threads: int | None = None
) -> tuple[NDArray[Any], tuple[Geometry, ...]]:
    """The input tensor for several images, (N, ...), and the geometry of each.

    Raises ShapeError for no image, or for several where the model's input has no batch axis.
    """
    if not len(images):
        raise ShapeError("there is no image to prepare")
    if not card.batched and len(images) > 1:
        raise ShapeError(f"the model's input ({card.layout}) has no batch axis: prepare one image at a time")
    where = {"H": card.size[0], "W": card.size[1], "C": card.channels}
    tensor = np.empty((len(images), *(where[axis] for axis in card.layout.replace("N", ""))), card.dtype)
    geometries = []
    for sample, image in zip(tensor, images, strict=True):
        pixels, geometry = _on_plane(image, card, threads)
        _normalise(pixels, card, sample)
        geometries.append(geometry)
    return tensor if card.batched else tensor[0], tuple(geometries)


def pixels_of(tensor: ArrayLike, card: Card) -> NDArray[np.uint8]:
    """The way back: what a tensor shows, as uint8 (N, h, w, 3) RGB at the model's resolution, rounded and clipped.

    Of bands, those that the card displays; numbers without a black and a white (`window` "none") are stretched.

    tensor: in the card's layout, with or without the batch axis. Raises ShapeError when it does not fit the card.
    """
    values = np.asarray(tensor)
    axes = card.layout.replace("N", "")
    if values.ndim == len(axes):
        values = values[None]
    want = {"H": card.size[0], "W": card.size[1], "C": card.channels}
    if values.ndim != len(axes) + 1 or any(values.shape[1 + i] != want[a] for i, a in enumerate(axes)):
        raise ShapeError(f"a tensor of shape {values.shape} does not fit the card: {card.layout}, {want}")
    if "C" not in axes:
        values, axes = values[..., None], axes + "C"
    values = values.transpose(0, *(1 + axes.index(a) for a in "HWC")).astype(np.float32)
    values = values * np.asarray(card.std, np.float32) + np.asarray(card.mean, np.float32)
    if card.has_bands:
        values = values[..., [card.channel_of(band) for band in card.shown_bands]]
    elif card.order == "BGR":
        values = values[..., ::-1]
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    if card.window == "none":
        values = np.stack([stretched(sample) for sample in values])
    shown: NDArray[np.uint8] = np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)
    return shown


def in_channels(given: Any, card: Card) -> NDArray[Any]:
    """A picture with the model's channels, those of colours as RGB: uint8, or pixels of 0..255 in float32."""
    image = np.asarray(given)
    channels = image.shape[2:] if image.ndim == 3 else ()
    if isinstance(card.order, tuple):
        if image.dtype.kind not in "uif" or image.ndim not in (2, 3) or 0 in image.shape:
            raise ShapeError(f"an image with bands must be numbers (H, W, bands), got {image.dtype} {image.shape}")
        return levels(bands_of(image if image.ndim == 3 else image[..., None], card.order), card)
    known = image.dtype in (np.uint8, np.uint16) or (image.dtype.kind in "if" and card.window is not None)
    if not known or image.ndim not in (2, 3) or 0 in image.shape or channels not in ((), (3,)):
        raise ShapeError(f"an image must be uint8 (H, W, 3) RGB, got {image.dtype} {image.shape}")
    image = levels(image, card)
    if card.order == "GRAY":
        return luminance(image) if image.ndim == 3 else image
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _on_plane(given: Any, card: Card, threads: int | None) -> tuple[NDArray[Any], Geometry]:
    """uint8 or float32 (h, w, C), channels as the model wants them."""
    image = in_channels(given, card)
    geometry = place(card, (image.shape[0], image.shape[1]))
    y0, x0, y1, x1 = geometry.plane_box
    whole = (y1 - y0, x1 - x0) == geometry.resized
    part = resize(
        image,
        (y1 - y0, x1 - x0),
        card.interpolation,
        antialias=card.antialias,
        region=None if whole else geometry.box,
        threads=threads,
    )
    if part.shape[:2] != card.size:
        plane = np.full((*card.size, *part.shape[2:]), card.pad_value, part.dtype)
        plane[y0:y1, x0:x1] = part
        part = plane
    if card.order == "BGR":
        part = part[..., ::-1]
    return part.reshape(*card.size, card.channels), geometry


_LUMINANCE = np.array([19595, 38470, 7471], np.float32) / np.float32(65536)


def luminance(image: NDArray[Any]) -> NDArray[Any]:
    """uint8 (H, W, 3) RGB -> uint8 (H, W): weights of ITU-R BT.601 in 16-bit fixed point, as Pillow's mode "L".

    Pixels in float32 are weighted without rounding.
    """
    if image.dtype != np.uint8:
        return np.asarray(image @ _LUMINANCE, np.float32)
    r, g, b = (image[..., c].astype(np.uint32) for c in range(3))
    return ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16).astype(np.uint8)


def _normalise(pixels: NDArray[Any], card: Card, tensor: NDArray[Any]) -> None:
    """uint8 or float32 (h, w, C) -> the tensor of one image in the card's layout and dtype, written in place."""
    axes = card.layout.replace("N", "")
    planes = tensor if "C" not in axes else np.moveaxis(tensor, axes.index("C"), 0)
    kind = np.float64 if tensor.dtype == np.float64 else np.float32
    for c in range(card.channels):
        plane = planes if "C" not in axes else planes[c]
        values = plane if tensor.dtype == kind else np.empty(plane.shape, kind)
        values[...] = pixels[..., c]
        values -= kind(card.mean[c])
        # A division, not a product by 1 / std: the values are those of other frameworks bit for bit.
        values /= kind(card.std[c])
        if tensor.dtype.kind in "iu":
            limits = np.iinfo(tensor.dtype)
            np.clip(np.rint(values, out=values), limits.min, limits.max, out=values)
        if values is not plane:
            with np.errstate(over="ignore"):  # float16 may not hold what a strange card asks for
                plane[...] = values


__all__ = [
    "Card",
    "Filter",
    "Geometry",
    "Prepared",
    "find_card",
    "luminance",
    "pixels_of",
    "place",
    "prepare",
    "prepare_batch",
]
