"""What a dream starts from: a photograph, an array of any number of channels, or noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...attribution.photos import over_white
from ...errors import ShapeError
from ...preprocess.image import luminance
from ..canvas import Canvas
from ..parametrisations.fourier import Fourier
from .octaves import Picture, Size, resized

_MOST_PIXELS = 1 << 28
# Standard deviation of the coefficients of noise: visible structure of all sizes, and room to both sides.
_DEVIATION = 0.1


def picture_of(image: Any, canvas: Canvas, size: Size | None) -> Picture:
    """An image as float32 (C, H, W) in 0..1, at `size` if given, else its own.

    image: uint8 (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4), uint16 or bands as the card says, or numbers in 0..1,
    (C, H, W) with the model's channels. Raises ShapeError for another shape, type or range, CardError.
    """
    array = np.asarray(image)
    if 0 in array.shape or array.ndim not in (2, 3):
        raise ShapeError(f"an image to dream of is (H, W, 3) or (C, H, W), not {list(array.shape)}")
    planes = canvas.planes_of(array)
    if planes is None:
        planes = _of_pixels(array, canvas) if array.dtype == np.uint8 else _of_numbers(array, canvas)
    check_pixels(size or (planes.shape[1], planes.shape[2]))
    return np.clip(resized(planes, size), 0, 1) if size else planes


def _of_pixels(array: NDArray[Any], canvas: Canvas) -> Picture:
    if array.ndim == 3 and array.shape[2] == 4:
        array = over_white(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if canvas.channels not in (1, 3):
        raise ShapeError(
            f"the model's input has {canvas.channels} channels: give numbers in 0..1 of shape (C, H, W), or noise"
        )
    if array.ndim == 3 and array.shape[2] != 3:
        raise ShapeError(f"an image of pixels has shape (H, W, 3), not {list(array.shape)}")
    if canvas.channels == 1:
        gray = luminance(array) if array.ndim == 3 else array
        return _shares(gray[None])
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    return _shares(array.transpose(2, 0, 1))


def _shares(levels: NDArray[np.uint8]) -> Picture:
    found: Picture = np.ascontiguousarray(levels, np.float32) / np.float32(255)
    return found


def _of_numbers(array: NDArray[Any], canvas: Canvas) -> Picture:
    planes = array[None] if array.ndim == 2 else array
    if len(planes) != canvas.channels or planes.dtype.kind != "f":
        raise ShapeError(
            f"an array to dream of is uint8 (H, W, 3), or numbers in 0..1 of shape ({canvas.channels}, H, W), not "
            f"{array.dtype} {list(array.shape)}"
        )
    low, high = float(planes.min()), float(planes.max())
    if not (low >= 0 and high <= 1):
        raise ShapeError(f"numbers to dream of are in 0..1, not {low:g} to {high:g}")
    return np.ascontiguousarray(planes, np.float32)


def noise(canvas: Canvas, size: Size, seed: int) -> Picture:
    """Noise with as much structure of every size as photographs have, in their colours."""
    check_pixels(size)
    painter = Fourier(deviation=_DEVIATION).on(canvas.with_size(size))
    made: Picture = painter.pictures(painter.start(np.random.default_rng(seed))[None])[0]
    return made


def check_pixels(size: Size) -> None:
    """Raises ShapeError for a size that is none, or more than memory should hold."""
    if min(size) < 1 or size[0] * size[1] > _MOST_PIXELS:
        raise ShapeError(
            f"a picture of {size[0]}x{size[1]} pixels: it has at least 1 and at most {_MOST_PIXELS} pixels"
        )
