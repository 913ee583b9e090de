"""A PNG encoder for 8-bit gray and RGB pictures (ISO/IEC 15948): results are saved without an image library."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic
from ..errors import ShapeError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # filter type: the difference from the pixel above, which deflates well for smooth pictures


def encode(image: NDArray[Any], *, level: int = 6) -> bytes:
    """The bytes of a PNG file. image: uint8 (H, W) gray or (H, W, 3) RGB. Equal images give equal bytes.

    Raises ShapeError for another dtype or shape.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ShapeError(f"a picture must be uint8 (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    lines = np.empty((height, rows.shape[1] + 1), np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = rows[0]
    lines[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256, as the filter is defined
    colour_type = 0 if pixels.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), level)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write(path: Path, image: NDArray[Any]) -> None:
    """Write a PNG file, whole or not at all. Raises OutputError, ShapeError."""
    data = encode(image)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def data_url(image: NDArray[Any]) -> str:
    """The picture as a `data:` URL, to be embedded in a page."""
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode("ascii")
