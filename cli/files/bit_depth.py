"""What an image file holds, as pixels: 8 bits of it for the eye, or all of its bits for a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.preprocess.depth import WHITE
from .header import Header

_BAND = 1 << 20  # values


def in_bands(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A large image in parts of some rows."""
    rows = max(1, _BAND // max(1, array[0].size))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def in_bands_of(array: NDArray[Any], other: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of `array` that belong to the bands of `other`."""
    start = 0
    for part in in_bands(other):
        yield array[start : start + len(part)]
        start += len(part)


def eight_bits(stored: NDArray[Any], header: Header) -> NDArray[np.uint8]:
    whole = 255 if stored.dtype == np.uint8 else WHITE
    most = header.maximum or whole
    values = stored
    if header.inverted:
        values = values.copy()
        values[..., : 3 if stored.shape[2] == 4 else None] = whole - stored[..., : 3 if stored.shape[2] == 4 else None]
    if most != 255:
        values = (np.minimum(values, most).astype(np.uint32) * 255 + most // 2) // most
    return np.asarray(values, np.uint8)


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation (2 to 8) to what is stored."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def sixteen_bits(
    stored: NDArray[np.uint16], header: Header, ends: tuple[float, float] | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """All bits of a picture: uint16 (H, W) or (H, W, 3) RGB, and what should be said of it.

    stored: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA. ends: the values that are black and white, None where they are
    those of the file: then its white becomes 65535.
    """
    colours = stored if stored.ndim == 2 else stored[..., 2::-1] if stored.shape[2] > 2 else stored[..., 0]
    values, white = colours, WHITE if ends is None else int(min(ends[1], WHITE))
    if ends is None and header.maximum not in (None, WHITE):
        most = header.maximum or WHITE
        values = ((np.minimum(values, most).astype(np.uint32) * WHITE + most // 2) // most).astype(np.uint16)
    if header.inverted:
        low, high = (0, WHITE) if ends is None else ends
        values = np.clip(low + high - values.astype(np.float64), 0, WHITE).astype(np.uint16)
    if header.transparent_gray is not None and stored.ndim == 2:
        values = np.where(stored == header.transparent_gray, np.uint16(white), values)
    if stored.ndim < 3 or stored.shape[2] != 4:
        return np.ascontiguousarray(values), ()
    if ends is not None:
        return np.ascontiguousarray(values), ("what is transparent in it is taken as if it were not",)
    alpha = stored[..., 3:].astype(np.uint32)
    weighted = values if header.premultiplied else (values * alpha + WHITE // 2) // WHITE
    return np.minimum(weighted + (WHITE - alpha), WHITE).astype(np.uint16), ()
