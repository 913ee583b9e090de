"""Headers of image formats that are met rarely: PNM (Netpbm), GIF (89a), AVIF, JPEG 2000 (ITU-T T.800)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from ...engine.errors import ImageError
from .header import FIRST_FRAME, Header

# White space and comments, then a number.
_NUMBER = re.compile(rb"(?:[ \t\r\n\v\f]|#[^\r\n]{0,4096}[\r\n]){1,256}(\d{1,9})(?=[ \t\r\n\v\f#]|$)")
_MOST_BLOCKS = 1 << 20


def _pnm(data: bytes, where: str) -> Header:
    kind, at, numbers = data[1:2], 2, []
    for _ in range(2 if kind in b"14" else 3):
        found = _NUMBER.match(data, at)
        if found is None:
            raise ImageError(f"{where} is a broken PNM: its header lacks a size")
        numbers.append(int(found[1]))
        at = found.end()
    width, height, maximum = (*numbers, 1)[:3]
    if not 1 <= maximum <= 65535:
        raise ImageError(f"{where} is a broken PNM: its greatest value is {maximum}")
    size = 2 if maximum > 255 else 1
    channels = 3 if kind in b"36" else 1
    row = (width + 7) // 8 if kind == b"4" else width * channels * size
    if kind in b"456" and len(data) < at + 1 + row * height:
        raise ImageError(f"{where} is a truncated PNM: {len(data)} of {at + 1 + row * height} bytes are there")
    # OpenCV scales bits, and bytes that are written as text, but nothing else.
    scaled = kind in b"14" or (kind in b"23" and size == 1)
    return Header("PNM", width, height, bytes_per_pixel=channels * size, maximum=None if scaled else maximum)


def _gif(data: bytes, where: str) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _table(flags)
    frames = 0
    for _ in range(_MOST_BLOCKS):
        kind = data[at] if at < len(data) else None
        if kind == 0x2C:
            frames += 1
            at += 10 + _table(data[at + 9]) + 1
        elif kind == 0x21:
            at += 2
        else:
            break
        if frames > 1:
            break
        at = _after_blocks(data, at, where)
    if not frames:
        raise ImageError(f"{where} is a GIF without a picture in it, or cut off before it")
    return Header("GIF", width, height, notes=(FIRST_FRAME,) if frames > 1 else ())


def _table(flags: int) -> int:
    """The size of the colour table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int, where: str) -> int:
    for _ in range(_MOST_BLOCKS * 8):
        if at >= len(data):
            raise ImageError(f"{where} is a truncated GIF: it ends in the middle of a picture")
        if not data[at]:
            return at + 1
        at += 1 + data[at]
    raise ImageError(f"{where} is not a GIF that can be read: a picture has more than {_MOST_BLOCKS * 8} parts")


def _avif(data: bytes, where: str) -> Header:
    start = data.find(b"meta", 0, 1 << 16)
    if start < 4:
        raise ImageError(f"{where} is a broken AVIF: it does not describe its picture")
    (length,) = struct.unpack_from(">I", data, start - 4)
    meta = data[start : start + min(length, 1 << 20)]
    places = [found.end() for found in re.finditer(b"ispe", meta)]
    sizes = [struct.unpack_from(">II", meta, at + 4) for at in places]
    if not sizes:
        raise ImageError(f"{where} is a broken AVIF: it does not give its size")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    turned = any(meta[found.end()] & 3 for found in re.finditer(b"irot", meta)) or b"imir" in meta
    if turned:
        raise ImageError(f"{where} is an AVIF that is to be turned or mirrored, which is not done: save it as PNG")
    at = meta.find(b"av1C")
    flags = meta[at + 6] if at >= 0 else 0
    bits = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    notes = (FIRST_FRAME,) if data[8:12] == b"avis" else ()
    maximum = None if bits == 8 else (1 << bits) - 1
    return Header("AVIF", width, height, bytes_per_pixel=4 if bits == 8 else 8, maximum=maximum, notes=notes)


def _jpeg_2000(data: bytes, where: str) -> Header:
    start = data.find(b"\xff\x4f\xff\x51", 0, 1 << 20)
    if start < 0:
        raise ImageError(f"{where} is a broken JPEG 2000: it holds no picture")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    kinds = {data[start + 42 + 3 * i : start + 45 + 3 * i] for i in range(channels)}
    colours = data.find(b"colr", 0, start)
    space = struct.unpack_from(">I", data, colours + 7)[0] if colours >= 0 and data[colours + 4] == 1 else 16
    if channels not in (1, 3, 4) or len(kinds) != 1 or space not in (16, 17):
        what = f"{channels} channels in the colour space {space}"
        raise ImageError(f"{where} is a JPEG 2000 of {what}, which is not read: save it as PNG")
    bits, *steps = kinds.pop()
    if bits & 0x80 or (bits & 0x7F) + 1 > 16 or steps != [1, 1]:
        raise ImageError(f"{where} is a JPEG 2000 of signed or coarse samples, which is not read: save it as PNG")
    if data.rfind(b"\xff\xd9", start) < 0:
        raise ImageError(f"{where} is a truncated JPEG 2000: it ends in the middle, without its end marker")
    bits += 1
    maximum = None if bits in (8, 16) else (1 << bits) - 1
    size = channels * (1 if bits <= 8 else 2)
    return Header("JPEG 2000", x1 - x0, y1 - y0, bytes_per_pixel=size, maximum=maximum)


# How a format is recognised, and what reads its header.
RARE: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, str], Header]], ...] = (
    (lambda data: data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in (b" ", b"\t", b"\n", b"\r"), _pnm),
    (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), _gif),
    (lambda data: data[4:12] in (b"ftypavif", b"ftypavis"), _avif),
    (lambda data: data[:4] == b"\xff\x4f\xff\x51" or data[4:12] == b"jP  \r\n\x87\n", _jpeg_2000),
)
