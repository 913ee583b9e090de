"""Pictures of more than 8 bits a channel: what their numbers stand for, and what of them can be shown.

A card's mean and std count on pixels of 0..255. Pictures of 8 bits have these; the numbers of others become such
pixels, in float32 and not rounded, as the card says:

    window (low, high)    255 * (v - low) / (high - low), from 0 to 255
    window "none"         the numbers as they are: mean and std count in their units
    bits B                255 * v / (2^B - 1)
    neither               uint16 only: 255 * v / 65535
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CardError, ShapeError

if TYPE_CHECKING:
    from .card import Card

# The white of 16 bits; a greatest value of so few bits in 16 is a camera's or a scanner's depth, not a dark picture.
WHITE, FEW_BITS = 65535, 12
# Shares of the values that are black and white where no window says what to show.
_SHOWN = (1.0, 99.0)


def check_depth(picture: NDArray[Any], card: Card) -> None:
    """Raise CardError for a uint16 picture of fewer bits than 16 where the card does not say what its numbers mean."""
    if picture.dtype != np.uint16 or card.window is not None or not picture.size:
        return
    greatest = int(picture.max())
    if card.bits is not None:
        if greatest >= 1 << card.bits:
            raise CardError(
                f"the greatest value of this 16-bit picture is {greatest}, more than bits={card.bits} can hold "
                f"({(1 << card.bits) - 1}): give bits={max(8, greatest.bit_length())}, or window=LOW,HIGH"
            )
        return
    bits = greatest.bit_length()
    if 0 < bits <= FEW_BITS:
        raise CardError(
            f"the greatest value of this 16-bit picture is {greatest} of {WHITE}, as of {max(8, bits)} bits: "
            f"give bits={_usual(bits)} or window=LOW,HIGH as an option or in the card; bits=16 if it is meant to be "
            "so dark"
        )


def assumed(picture: NDArray[Any], card: Card) -> tuple[NDArray[Any], str | None]:
    """A picture that `check_depth` refuses for its few bits as one of 16 bits whose white is 4095, and the words on it.

    For a first look only (`predict`): 12 bits whatever the picture holds, so that pictures of one camera stay alike.
    Others come back as they are.
    """
    silent = card.window is None and card.bits is None and picture.dtype == np.uint16 and picture.size > 0
    greatest = int(picture.max()) if silent else 0
    if not 0 < greatest.bit_length() <= FEW_BITS:
        return picture, None
    white = (1 << FEW_BITS) - 1
    return (
        np.rint(picture * np.float32(WHITE / white)).astype(np.uint16),
        f"the greatest value of this 16-bit picture is {greatest} of {WHITE}: it is read as {FEW_BITS} bits, white is "
        f"{white}; bits=12, bits=16 or window=LOW,HIGH as an option or in the card says what is right",
    )


def _usual(bits: int) -> int:
    """The depth of cameras and scanners that holds so many bits."""
    return next(depth for depth in (8, 10, 12) if bits <= depth)


def levels(picture: NDArray[Any], card: Card) -> NDArray[Any]:
    """The numbers of a picture as pixels of 0..255, see the head of this file: uint8 as it is, others as float32.

    Raises CardError where the card does not say what they mean.
    """
    if picture.dtype == np.uint8:
        return picture
    if card.window == "none":
        return picture.astype(np.float32)
    if card.window is not None:
        low, high = card.window
        share = (picture.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        return np.asarray(np.clip(share, 0, 1) * np.float32(255), np.float32)
    if picture.dtype != np.uint16:
        raise CardError(
            f"nothing says which values of this picture of {picture.dtype} are black and white: give window=LOW,HIGH, "
            "or window='none' where mean and std count in the picture's own units"
        )
    check_depth(picture, card)
    white = WHITE if card.bits is None else (1 << card.bits) - 1
    return np.asarray(picture.astype(np.float32) * np.float32(255 / white), np.float32)


def shown(picture: NDArray[Any], card: Card) -> NDArray[np.uint8]:
    """What of a picture is looked at: uint8 (H, W, 3) RGB. Of bands, those that the card displays.

    picture: (H, W), (H, W, 3) or (H, W, bands). Raises CardError, ShapeError.
    """
    if picture.ndim == 3 and card.has_bands:
        picture = bands_of(picture, card.shown_bands)
    pixels = levels(picture, card)
    if pixels.dtype != np.uint8:
        pixels = np.rint(stretched(pixels) if card.window == "none" else pixels).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)


def stretched(values: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers without a black and a white as 0..255: all but the least and the greatest hundredth of them."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, _SHOWN) if finite.size else (0.0, 1.0)
    share = (np.nan_to_num(values) - low) / max(float(high - low), 1e-30)
    return np.asarray(np.clip(share, 0, 1) * 255, np.float32)


def bands_of(picture: NDArray[Any], bands: tuple[int, ...]) -> NDArray[Any]:
    """Bands of a picture (H, W, B), by number. Raises ShapeError for one that it does not have."""
    if picture.ndim != 3 or max(bands) >= picture.shape[2]:
        found = picture.shape[2] if picture.ndim == 3 else 1
        raise ShapeError(
            f"the card names band {max(bands)}, counted from 0, but the picture has {found}: give pictures with all "
            "bands (.npy of H x W x bands, a TIFF with a page a band), or order= with the bands that are there"
        )
    return picture if bands == tuple(range(picture.shape[2])) else picture[..., list(bands)]
