"""What the header of an image file says, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_FRAME = "the first frame of several is shown"


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    Attributes: `format`; `width` and `height` in pixels as stored; `orientation` that is left to be applied (EXIF, 1 to
    8); `premultiplied`: whether OpenCV hands out colours multiplied by their alpha; `bytes_per_pixel` of what it hands
    out, at most; `transparent_gray`: the level, as decoded, that is see-through; `maximum`: the number that stands for
    full intensity, None for all bits of 8 or 16; `inverted`: whether 0 is white; `notes`: what should be said of it.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    premultiplied: bool = False
    bytes_per_pixel: int = 4
    transparent_gray: int | None = None
    maximum: int | None = None
    inverted: bool = False
    notes: tuple[str, ...] = ()
