"""What an image file says of itself, read without decoding it: format, size, orientation, and whether it is whole.

A picture of 60000 x 60000 pixels fits into 70 bytes of PNG, and decoders hand out half a JPEG with the rest in gray; so
this is asked first. Formats: JPEG (ITU-T T.81), PNG (W3C), BMP, TIFF (6.0 and BigTIFF), WebP (RFC 9649); those that are
rarer are in `rare_headers.py`. Offsets and counts are those of the file: none is used before it is checked, and no file
has so many parts that reading them takes long.
"""

from __future__ import annotations

import re
import struct

from ...engine.errors import ImageError
from .header import FIRST_FRAME, Header
from .rare_headers import RARE

FORMATS = "JPEG, PNG, BMP, TIFF, WebP, GIF, PNM (PBM, PGM, PPM), AVIF and JPEG 2000"

# More parts than any picture has: a file of 1 GiB that holds nothing but tiny ones is refused.
_MOST_PARTS = 1 << 20


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
            return _tiff(data, where)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data, where)
        for is_one, read in RARE:
            if is_one(data):
                return read(data, where)
    except (struct.error, IndexError, OverflowError):
        raise ImageError(f"{where} is cut off in its header") from None
    raise ImageError(f"{where} cannot be read as an image: it is {_what(data)}; supported are {FORMATS}")


def _what(data: bytes) -> str:
    known = {
        b"%PDF": "a PDF document",
        b"PK\x03\x04": "a ZIP archive",
        b"8BPS": "a Photoshop file",
        b"\x93NUMPY": "a NumPy array",
        b"\x76\x2f\x31\x01": "an OpenEXR image, whose numbers have no white: save it with 8 or 16 bits a channel",
        b"#?RADIANCE": "a Radiance HDR image, whose numbers have no white: save it with 8 or 16 bits a channel",
        b"#?RGBE": "a Radiance HDR image, whose numbers have no white: save it with 8 or 16 bits a channel",
        b"<svg": "an SVG drawing",
        b"<?xml": "an XML file",
        b"version https://git-lfs": "a Git LFS pointer, the image itself was not fetched",
    }
    for start, name in known.items():
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return "a HEIF or video file"
    printable = sum(32 <= b < 127 or b in (9, 10, 13) for b in data[:256])
    return (
        "a text file"
        if printable == len(data[:256])
        else f"a file of another kind, which begins with {data[:4].hex(' ')}"
    )


# A marker that ends entropy-coded data: not a stuffed zero, not a restart marker.
# Filling bytes 0xFF before it need not be matched: a run of them would be searched again from each of its bytes.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes, where: str) -> Header:
    size = None
    orientation = None
    at = 2
    for _ in range(_MOST_PARTS):
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
            bits, height, width, samples = struct.unpack_from(">BHHB", data, at + 2)
            size = width, height
        elif marker == 0xE1 and orientation is None and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = _orientation(data[at + 8 : at + length])
        at += max(2, length)
    else:
        raise _too_many_parts("JPEG", where)
    if size is None:
        raise ImageError(f"{where} is a JPEG without an image in it")
    return Header("JPEG", *size, orientation or 1, bytes_per_pixel=max(1, samples) * (2 if bits > 8 else 1))


def _png(data: bytes, where: str) -> Header:
    if data[12:16] != b"IHDR":
        raise ImageError(f"{where} is a broken PNG: it does not begin with its header")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, level = None, None
    notes: tuple[str, ...] = ()
    at = 8
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if kind == b"eXIf" and orientation is None:
            orientation = _orientation(data[at + 8 : at + 8 + length])
        if kind == b"tRNS" and colour == 0 and depth in _GRAY_STEPS:  # OpenCV looks at those of colours only
            level = (struct.unpack_from(">H", data, at + 8)[0] & (1 << depth) - 1) * _GRAY_STEPS[depth]
        if kind == b"acTL" and struct.unpack_from(">I", data, at + 8)[0] > 1:
            notes = (FIRST_FRAME,)
        if kind == b"IEND":
            samples = {0: 1, 2: 4, 3: 4, 4: 4, 6: 4}.get(colour, 4)
            return Header(
                *("PNG", width, height, orientation or 1),
                bytes_per_pixel=samples * (2 if depth == 16 else 1),
                transparent_gray=level,
                notes=notes,
            )
        at += 12 + length
    else:
        raise _too_many_parts("PNG", where)
    raise ImageError(f"{where} is a truncated PNG: it ends in the middle, without its end marker")


def _bmp(data: bytes) -> Header:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return Header("BMP", abs(width), abs(height))


# By how much the decoded levels of a gray PNG of so many bits are apart.
_GRAY_STEPS = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1}
# The photometric interpretations of TIFF that OpenCV decodes as they are meant: of up to 8 bits a channel, and of 16.
_TIFF_COLOURS = {0: "white is zero", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_TIFF_COLOURS_16 = {0, 1, 2}
_TIFF_OTHERS = {4: "mask", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "colour filter array", 32845: "LogLuv"}


def _tiff(data: bytes, where: str) -> Header:
    tags = _tags(data, {256, 257, 258, 262, 277, 338, 339})
    width, height = tags.get(256, 0), tags.get(257, 0)
    bits, samples, kind, colours = tags.get(258, 1), tags.get(277, 1), tags.get(339, 1), tags.get(262, 1)
    if kind in (2, 3) or bits > 16:
        what = f"{ {2: 'int', 3: 'float'}.get(kind, 'uint') }{bits}"
        raise ImageError(f"{where} holds {what} values; images of 8 or 16 bits a channel are supported")
    if colours not in (_TIFF_COLOURS if bits <= 8 else _TIFF_COLOURS_16):
        known = {**_TIFF_COLOURS, **_TIFF_OTHERS}
        what = f"{known.get(colours, f'colours of the kind {colours}')} with {bits} bits"
        raise ImageError(f"{where} is a TIFF in {what} a channel, which is not read: save it as RGB or gray")
    # libtiff's RGBA interface, which OpenCV uses for 8 bits, multiplies; OpenCV applies the orientation itself.
    return Header(
        *("TIFF", width, height, 1),
        premultiplied=bits <= 8 or tags.get(338) == 1,
        bytes_per_pixel=max(1, samples) * 2 if bits > 8 else max(4, samples),
        inverted=colours == 0 and bits > 8,
        notes=("the first page of several is shown",) if tags.get(_NEXT) else (),
    )


def _webp(data: bytes, where: str) -> Header:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise ImageError(f"{where} is a truncated WebP: {len(data)} of {length + 8} bytes are there")
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        at, orientation = 12, 1
        for _ in range(_MOST_PARTS):
            if at + 8 > len(data):
                break
            (length,) = struct.unpack_from("<I", data, at + 4)
            if data[at : at + 4] == b"EXIF":
                orientation = _orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
            at += 8 + length + length % 2
        return Header("WebP", width, height, orientation, notes=(FIRST_FRAME,) if data[20] & 2 else ())
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("WebP", width & 0x3FFF, height & 0x3FFF)


def _orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF data; 1, upright, where it is missing or makes no sense."""
    try:
        value = _tags(exif, {274}).get(274, 1)
    except (struct.error, IndexError, OverflowError):
        return 1
    return value if 1 <= value <= 8 else 1


def _too_many_parts(format: str, where: str) -> ImageError:
    return ImageError(f"{where} is no {format} that can be read: it has more than {_MOST_PARTS} parts")


_WIDTHS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_NEXT = -1  # in place of a tag's number: where the next directory is, 0 if there is none


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
    end = at + count * step
    if end + (8 if big else 4) <= len(data):
        (found[_NEXT],) = struct.unpack_from(order + ("Q" if big else "I"), data, end)
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
