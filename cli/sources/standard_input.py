"""`-`: images from stdin, each as 4 bytes of its length (big-endian) and that many bytes of a JPEG, PNG, ..."""

from __future__ import annotations

import functools
import hashlib
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...engine.errors import ImageError
from .source import Frame, Picture, Say, Selection, Source

if TYPE_CHECKING:
    from ...engine.preprocess.card import Card


def _frames(item: str, selection: Selection, say: Say) -> Iterator[Frame]:
    return frames_of(sys.stdin.buffer, selection)


def frames_of(stream: BinaryIO, selection: Selection) -> Iterator[Frame]:
    """The images of a stream. Raises ImageError where it ends inside an image."""
    start, number = time.monotonic(), 0
    while data := _next(stream, number):
        seconds = time.monotonic() - start
        if not selection.lasts(seconds):
            return
        if not number % selection.every:
            path = Path(f"stdin#{number}")
            yield Frame(path, functools.partial(_decoded, data, str(path)), seconds)
        number += 1


def _next(stream: BinaryIO, number: int) -> bytes:
    """The bytes of the next image, none at the end."""
    from ..files.images import MAX_BYTES

    head = stream.read(4)
    if not head:
        return b""
    (length,) = struct.unpack(">I", head) if len(head) == 4 else (0,)
    if not 0 < length <= MAX_BYTES:
        raise ImageError(
            f"image {number} of stdin begins with {head!r}, which is no length: each image is 4 bytes of its length, "
            "big-endian, and so many bytes of a JPEG or PNG"
        )
    data = stream.read(length)
    if len(data) < length:
        raise ImageError(f"stdin ended inside image {number}: {len(data)} of {length} bytes came")
    return data


def _decoded(data: bytes, where: str, card: Card | None) -> Picture:
    from ..files.photos import photo_of

    pixels, notes = photo_of(where, data, card)
    return Picture(pixels, hashlib.sha256(data).hexdigest(), notes)


SOURCE = Source(
    "-", "stdin: 4 bytes of length, big-endian, and a JPEG or PNG, repeated", lambda i: i == "-", frames=_frames
)
