"""What an image file says of itself, read without decoding it: format, size, orientation, and whether it is whole.

A picture of 60000 x 60000 pixels fits into 70 bytes of PNG, and decoders hand out half a JPEG with the rest in gray; so
this is asked first. Formats: JPEG (ITU-T T.81), PNG (W3C), BMP, TIFF (6.0 and BigTIFF), WebP (RFC 9649).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from ...engine.errors import ImageError

FORMATS = "JPEG, PNG, BMP, TIFF and WebP"


@dataclass(frozen=True)
class Header:
    """Attributes: `format`; `width` and `height` in pixels as stored; `orientation` that is left to be applied (EXIF,
    1 to 8); `premultiplied`: whether OpenCV hands out colours multiplied by their alpha."""

    format: str
    width: int
    height: int
    orientation: int = 1
    premultiplied: bool = False


def read_header(data: bytes, where: str) -> Header:
    """The header of an image file. Raises ImageError (`where` names the file): unknown, broken or cut off."""
    if not data:
        raise ImageError(f"{where} is empty (0 bytes)")
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data, where)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data, where)
        if data[:2] == b"BM":
            return _bmp(data)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data, where)
    except (struct.error, IndexError):
        raise ImageError(f"{where} is cut off in its header") from None
    raise ImageError(f"{where} is no image that can be read: {_what(data)}; supported are {FORMATS}")


def _what(data: bytes) -> str:
    known = {
        b"GIF8": "a GIF",
        b"%PDF": "a PDF document",
        b"PK\x03\x04": "a ZIP archive",
        b"8BPS": "a Photoshop file",
        b"\x93NUMPY": "a NumPy array",
        b"<svg": "an SVG drawing",
        b"<?xml": "an XML file",
        b"version https://git-lfs": "a Git LFS pointer, the image itself was not fetched",
    }
    for start, name in known.items():
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return "a HEIF, AVIF or video file"
    printable = sum(32 <= b < 127 or b in (9, 10, 13) for b in data[:256])
    return "a text file" if printable == len(data[:256]) else f"it begins with {data[:4].hex(' ')}"


# A marker that ends entropy-coded data: not a stuffed zero, not a restart marker.
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes, where: str) -> Header:
    size = None
    orientation = 1
    at = 2
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            raise ImageError(f"{where} is a truncated JPEG: it ends in the middle, without its end marker")
        marker, at = found.group()[-1], found.end()
        if marker == 0xD9:
            break
        if marker in (0x01, 0xD8):
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _FRAMES and size is None:
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
        elif marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = _orientation(data[at + 8 : at + length])
        at += max(2, length)
    if size is None:
        raise ImageError(f"{where} is a JPEG without an image in it")
    return Header("JPEG", *size, orientation)


def _png(data: bytes, where: str) -> Header:
    if data[12:16] != b"IHDR":
        raise ImageError(f"{where} is a broken PNG: it does not begin with its header")
    width, height = struct.unpack_from(">II", data, 16)
    orientation = 1
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind == b"eXIf":
            orientation = _orientation(data[at + 8 : at + 8 + length])
        if kind == b"IEND":
            return Header("PNG", width, height, orientation)
        at += 12 + length
    raise ImageError(f"{where} is a truncated PNG: it ends in the middle, without its end marker")


def _bmp(data: bytes) -> Header:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("BMP", abs(width), abs(height))


def _tiff(data: bytes) -> Header:
    tags = _tags(data, {256, 257, 258, 338})
    width, height = tags.get(256, 0), tags.get(257, 0)
    # libtiff's RGBA interface, which OpenCV uses for 8 bits, multiplies; OpenCV applies the orientation itself.
    return Header("TIFF", width, height, 1, premultiplied=tags.get(258, 8) <= 8 or tags.get(338) == 1)


def _webp(data: bytes, where: str) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise ImageError(f"{where} is a truncated WebP: {len(data)} of {length + 8} bytes are there")
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        at, orientation = 12, 1
        while at + 8 <= len(data):
            (length,) = struct.unpack_from("<I", data, at + 4)
            if data[at : at + 4] == b"EXIF":
                orientation = _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
            at += 8 + length + length % 2
        return Header("WebP", width, height, orientation)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("WebP", width & 0x3FFF, height & 0x3FFF)


def _orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF data; 1, upright, where it is missing or makes no sense."""
    try:
        value = _tags(exif, {274}).get(274, 1)
    except (struct.error, IndexError):
        return 1
    return value if 1 <= value <= 8 else 1


_WIDTHS = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _tags(data: bytes, wanted: set[int]) -> dict[int, int]:
    """The first value of the wanted integer tags in a TIFF's first directory."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    if big:
        (start,) = struct.unpack_from(order + "Q", data, 8)
        (count,) = struct.unpack_from(order + "Q", data, start)
        at, step, inline = start + 8, 20, 12
    else:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        at, step, inline = start + 2, 12, 8
    found: dict[int, int] = {}
    for i in range(min(count, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, at + i * step)
        letter = _WIDTHS.get(kind)
        if tag not in wanted or letter is None:
            continue
        (number,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + i * step + 4)
        place = at + i * step + inline
        if number * struct.calcsize(letter) > (8 if big else 4):  # the values do not fit: here is where they are
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
        (found[tag],) = struct.unpack_from(order + letter, data, place)
    return found
