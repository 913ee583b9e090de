"""Image files in and out, and text on pictures: the only importer of OpenCV.

Images are uint8 H x W x 3 RGB. What a file holds becomes that by these rules: gray is repeated, palettes are looked
up, 16 bits become round(v / 257), other ranges are scaled likewise, transparent pixels are laid over white, the EXIF
orientation is applied, the first page or frame of several is taken. Colour profiles are not applied.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...engine.atomic import atomic
from ...engine.errors import ImageError, OutputError, RuntimeUnavailable
from .bit_depth import eight_bits, in_bands, in_bands_of, upright
from .drawing import is_drawing
from .header import Header
from .image_headers import read_header
from .quiet import quiet
from .remote import Remote, read_remote

try:
    import cv2
except ImportError as error:
    raise RuntimeUnavailable(
        f"OpenCV cannot be imported ({error}): on a server without a display install its libraries (Debian, Ubuntu: "
        "`apt-get install libgl1 libglib2.0-0`), or `pip uninstall opencv-python` and `pip install "
        "opencv-python-headless`"
    ) from error

Image: TypeAlias = NDArray[np.uint8]

MAX_PIXELS = 200_000_000
MAX_BYTES = 1 << 30
MAX_DECODED = 1 << 30
WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

if hasattr(cv2, "setLogLevel"):  # OpenCV 4
    cv2.setLogLevel(0)
else:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Image:
    """The image in a file. Raises ImageError, one line that names the file, for whatever keeps it from being read."""
    return decode(read_bytes(path), max_pixels=max_pixels, where=repr(os.fspath(path)))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file. Raises ImageError: no regular file, too large, no permission."""
    where = repr(os.fspath(path))
    if isinstance(path, Remote):
        return read_remote(path)
    try:
        # Neither a FIFO nor a device is waited for, and what was looked at is what is read.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                what = "a folder, not an image" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise ImageError(f"{where} is {what}")
            data = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else b""
    except IsADirectoryError:
        raise ImageError(f"{where} is a folder, not an image") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{where} cannot be read: {reason}") from error
    if max(status.st_size, len(data)) > MAX_BYTES:
        raise ImageError(f"{where} has {status.st_size >> 20} MiB, more than the limit of {MAX_BYTES >> 20} MiB")
    return data


def decode(data: bytes, max_pixels: int = MAX_PIXELS, where: str = "the image") -> Image:
    """The image in the bytes of a file; `where` names it in messages. Raises ImageError."""
    stored, header = stored_of(data, max_pixels, where)
    return upright(as_rgb(stored, header, where), header.orientation)


def stored_of(data: bytes, max_pixels: int, where: str) -> tuple[NDArray[Any], Header]:
    """What OpenCV decodes: (H, W), BGR or BGRA, 8 or 16 bits; and its header."""
    header = read_header(data, where)
    _check_size(header, max_pixels, where)
    with quiet() as said:
        try:
            stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError) as error:
            raise ImageError(f"{where} cannot be decoded: {header.format} of an unsupported kind, or broken") from error
    if stored is None:
        what = f"the {header.format} is truncated, broken or of an unsupported kind"
        if header.format in _OPTIONAL:
            what += f", or this build of OpenCV ({cv2.__version__}) reads no {header.format}: save it as PNG"
        raise ImageError(f"{where} cannot be decoded: {what}")
    if header.format == "JPEG" and re.search(rb"premature end|bad Huffman", b"".join(said), re.IGNORECASE):
        raise ImageError(f"{where} is a damaged JPEG: part of its picture is missing")
    return stored, header


# Formats that OpenCV can be built without.
_OPTIONAL = ("GIF", "AVIF", "JPEG 2000", "PNM")


def _check_size(header: Header, max_pixels: int, where: str) -> None:
    """Raises ImageError for an image whose size says that it should not be decoded."""
    pixels = header.width * header.height
    if pixels <= 0:
        raise ImageError(f"{where} is empty: a {header.format} of {header.width} x {header.height} pixels")
    if pixels > max_pixels:
        raise ImageError(
            f"{where} has {header.width} x {header.height} pixels, more than the limit of {max_pixels / 1e6:g} million"
        )
    if pixels * header.bytes_per_pixel > MAX_DECODED:
        raise ImageError(
            f"{where} has {header.width} x {header.height} pixels of {header.bytes_per_pixel} bytes, more than the "
            f"limit of {MAX_DECODED >> 20} MiB: save it smaller, or with 8 bits a channel"
        )


def as_rgb(stored: NDArray[Any], header: Header, where: str) -> Image:
    """uint8 (H, W, 3) RGB, made some rows at a time; `stored` is overwritten where it has that form already."""
    if stored.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{where} holds {stored.dtype} values; images of 8 or 16 bits a channel are supported")
    if stored.ndim == 2:
        stored = stored[..., None]
    if stored.shape[2] not in (1, 3, 4):
        raise ImageError(f"{where} has {stored.shape[2]} channels; gray, RGB and RGBA are supported")
    in_place = stored.dtype == np.uint8 and stored.shape[2] == 3 and stored.flags.writeable
    out = stored if in_place else np.empty((*stored.shape[:2], 3), np.uint8)
    for source, goal in zip(in_bands(stored), in_bands_of(out, stored), strict=True):
        goal[...] = _rgb_of(source, header)
    return out


def _rgb_of(stored: NDArray[Any], header: Header) -> NDArray[np.uint8]:
    eight = eight_bits(stored, header)
    if stored.shape[2] == 3:
        return np.asarray(cv2.cvtColor(eight, cv2.COLOR_BGR2RGB))
    if stored.shape[2] == 1:
        if header.transparent_gray is not None:
            eight = np.where(stored == header.transparent_gray, np.uint8(255), eight)
        return np.repeat(eight, 3, axis=2)
    alpha = eight[..., 3:].astype(np.uint16)
    colour = eight[..., 2::-1].astype(np.uint16)
    weighted = colour if header.premultiplied else (colour * alpha + 127) // 255
    return np.asarray(np.minimum(weighted + (255 - alpha), 255), np.uint8)


def encode(image: NDArray[Any], suffix: str = ".png", quality: int = 92) -> bytes:
    """The bytes of an image file, the same for the same image: uint8 (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA.

    `quality` is for JPEG and WebP. Raises OutputError for a suffix that is not WRITABLE or an image it cannot hold.
    """
    return _encoded(image, suffix, quality).tobytes()


def _encoded(image: NDArray[Any], suffix: str, quality: int) -> NDArray[np.uint8]:
    suffix = suffix.lower()
    if suffix not in WRITABLE:
        raise OutputError(f"pictures cannot be written as {suffix!r}: use one of {', '.join(WRITABLE)}")
    pixels = np.asarray(image)
    fits = pixels.ndim in (2, 3) and pixels.shape[2:] in ((), (3,), (4,)) and 0 not in pixels.shape
    if pixels.dtype != np.uint8 or not fits:
        raise OutputError(f"a picture must be uint8 (H, W), (H, W, 3) or (H, W, 4), got {pixels.dtype} {pixels.shape}")
    if pixels.ndim == 3:
        if image.nbytes > _LARGE and image.flags.c_contiguous and image.flags.writeable and image.shape[2] == 3:
            with _turned(image):
                return _encoded_bgr(image, suffix, quality)
        turn = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), turn)
    return _encoded_bgr(np.ascontiguousarray(pixels), suffix, quality)


# Bytes of a picture of which no second copy is made to be written: its own channels are turned round and back.
_LARGE = 1 << 26


@contextlib.contextmanager
def _turned(image: NDArray[np.uint8]) -> Iterator[None]:
    """The channels of an image in the other order, in place, for as long as the block lasts."""
    _turn(image)
    try:
        yield
    finally:
        _turn(image)


def _turn(image: NDArray[np.uint8]) -> None:
    for part in in_bands(image):
        part[...] = part[..., ::-1].copy()


def _encoded_bgr(pixels: NDArray[np.uint8], suffix: str, quality: int) -> NDArray[np.uint8]:
    lossy = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".jpeg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    options = [lossy[suffix], quality] if suffix in lossy else _png_options(pixels) if suffix == ".png" else []
    try:
        done, data = cv2.imencode(suffix, pixels, options)
    except cv2.error as error:
        raise OutputError(f"a picture of {pixels.shape} cannot be written as {suffix}") from error
    if not done:
        raise OutputError(f"a picture of {pixels.shape} cannot be written as {suffix}")
    return np.asarray(data, np.uint8)


def _png_options(pixels: NDArray[np.uint8]) -> list[int]:
    """How a PNG is compressed: in a sixth of the time of level 6, for a seventh more bytes of photos with a map over
    them, a fifth more of drawings. Runs of differences to the left suit photos; drawings, whose lines repeat, would
    take twice the bytes that way, and take differences to above.
    """
    if not is_drawing(pixels):
        return [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.11
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return options


def write(path: str | os.PathLike[str], image: NDArray[Any], quality: int = 92) -> Path:
    """Write a picture, whole or not at all; the suffix of `path` says in which format (see `encode`).

    Raises OutputError: no permission, full disk, a format or an image that cannot be written.
    """
    path = Path(path)
    data = _encoded(image, path.suffix, quality)
    with atomic(path) as temporary:
        temporary.write_bytes(data.data)
    return path


# Text. OpenCV 5 has TrueType fonts built in: "uni" of some 20000 characters, where it was built with it, else "sans",
# whose zeros have a stroke and whose parentheses are as wide as digits. Older ones only have Hershey's ASCII strokes.
_FONTS = ("uni", "sans")


_of_thread = threading.local()


def _font() -> Any:
    """The font of this thread: it keeps the letters that it has drawn, and two threads at once would mix them up."""
    if not hasattr(cv2, "FontFace"):
        return None
    if not hasattr(_of_thread, "font"):
        faces = [cv2.FontFace(name) for name in _FONTS]
        _of_thread.font = next((face for face in faces if face.getName()), faces[-1])
    return _of_thread.font


def _thickened(size: int, bold: bool) -> int:
    """How many pixels bold letters are wider: "uni" has one weight, so they are drawn again further right."""
    return max(1, round(size / 20)) if bold else 0


def _pieces(text: str, size: int, bold: bool) -> list[tuple[str, int]]:
    """What is drawn of a line, and how far from its start: bold ASCII letters apart, by what they are wider."""
    wider = _thickened(size, bold)
    if not wider or not text.isascii():
        return [(text, 0)]
    ends = [int(cv2.getTextSize((1, 1), text[:i], (0, 0), _font(), size)[2]) for i in range(1, len(text))]
    return [(text[i], end + i * wider) for i, end in enumerate([0, *ends])]


def text_size(text: str, size: int = 16, *, bold: bool = False) -> tuple[int, int]:
    """(width, height) in pixels of a line of text. `size` is the height of the letters' box; the line's height depends
    on it alone: lines of one size drawn at steps of it do not touch."""
    up, down = _line(size)
    return _width(_printable(text), size, bold), up + down


def draw_text(
    image: Image,
    text: str,
    xy: tuple[int, int],
    size: int = 16,
    color: tuple[int, int, int] = (0, 0, 0),
    *,
    bold: bool = False,
    anchor: str = "left",
) -> Image:
    """Write a line of text into `image` (uint8 (H, W, 3) RGB, changed in place and returned), smooth.

    xy: (x, y) of the line's top and its left end, its middle or its right end, as `anchor` says: "left", "middle",
    "right". What lies outside the image is cut off. color: RGB. Characters without a glyph are shown as "?".
    """
    text = _printable(text)
    x, y = xy
    x -= {"left": 0, "middle": _width(text, size, bold) // 2, "right": _width(text, size, bold)}[anchor]
    up, _ = _line(size)
    font = _font()
    canvas = image if image.flags.c_contiguous else np.ascontiguousarray(image)
    if font is not None:
        for part, apart in _pieces(text, size, bold):
            for shift in range(_thickened(size, bold) + 1):
                cv2.putText(canvas, part, (x + apart + shift, y + up), color, font, size)
    else:
        scale, thickness = _hershey(size, bold)
        start = (x + thickness // 2 + 1, y + up)
        cv2.putText(canvas, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)
    if canvas is not image:
        image[...] = canvas
    return image


def draw_line(
    image: Image, start: tuple[int, int], end: tuple[int, int], width: int, color: tuple[int, int, int]
) -> Image:
    """Draw a smooth line into `image` (uint8 (H, W, 3) RGB, changed in place and returned); start, end: (x, y).

    A line that ends where it starts is a dot.
    """
    if start == end:
        cv2.circle(image, start, max(1, width), color, -1, cv2.LINE_AA)
    else:
        cv2.line(image, start, end, color, max(1, width), cv2.LINE_AA)
    return image


def connected_parts(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[Any], list[NDArray[np.int32]], list[tuple[int, int, int, int]], list[int]]:
    """The connected parts of a mask (H, W), diagonal neighbours connected.

    Returns labels, uint16 or int32 (H, W), 0 outside and 1, 2, ... in the parts; and for each part, in that order, its
    outer outline as an (n, 2) array of (y, x), its box (y0, x0, y1, x1) with the ends not included, and its area.
    """
    plane = np.ascontiguousarray(mask).view(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8, ltype=cv2.CV_16U)
    if count > np.iinfo(np.uint16).max:
        _, labels, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8, ltype=cv2.CV_32S)
    found, hierarchy = cv2.findContours(plane, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = {}
    for outline, (_, _, _, parent) in zip(found, hierarchy[0] if len(found) else (), strict=True):
        if parent < 0:  # not the edge of a hole
            corners = np.ascontiguousarray(outline[:, 0, ::-1], np.int32)
            outlines[int(labels[tuple(corners[0])])] = corners
    parts = stats[1:].tolist()
    boxes = [(y, x, y + h, x + w) for x, y, w, h, _ in parts]
    return labels, [outlines[i + 1] for i in range(len(parts))], boxes, [area for *_, area in parts]


def grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """A mask (H, W) with all pixels at most `by` pixels from it, in each axis; nothing grows in from outside."""
    kernel = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    plane = cv2.dilate(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(plane, np.bool_)


def _printable(text: str) -> str:
    """One line that OpenCV can take: no control characters, no lone surrogates; plain ASCII for Hershey's fonts."""
    text = "".join(" " if unicodedata.category(c)[0] == "C" and c != "\u200d" else c for c in text)
    text = text.replace("\u2026", "...")  # fonts of Chinese have it half a line up
    if _font() is not None:
        return text
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode("ascii")


def _width(text: str, size: int, bold: bool) -> int:
    if not text:
        return 0
    font = _font()
    if font is not None:
        *_, (part, start) = _pieces(text, size, bold)
        return start + int(cv2.getTextSize((1, 1), part, (0, 0), font, size)[2]) + _thickened(size, bold)
    scale, thickness = _hershey(size, bold)
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0]) + thickness // 2 + 1


@functools.cache
def _line(size: int) -> tuple[int, int]:
    """How far a line reaches above and below its baseline, accents and tails included."""
    font = _font()
    if font is not None:
        _, top, _, height = cv2.getTextSize((1, 1), "Åg|", (0, 0), font, size)
        return -int(top), int(height) + int(top)
    scale, thickness = _hershey(size, True)
    (_, height), below = cv2.getTextSize("Ag|", cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    return int(height) + height // 10 + thickness, int(below) + thickness  # brackets and bars are taller than it says


@functools.cache
def _hershey(size: int, bold: bool) -> tuple[float, int]:
    thickness = max(1, round(size / (14 if bold else 16)))
    return cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, max(1, round(0.7 * size)), thickness), thickness


# --- what this build of OpenCV can do ---

_KINDS = (".png", ".jpg", ".webp", ".tiff", ".bmp", ".jp2", ".avif")


def abilities() -> tuple[str, dict[str, bool], bool]:
    """OpenCV's version; kinds of files, and whether each is written and read; whether text is more than ASCII."""
    return cv2.__version__, {suffix[1:]: _comes_back(suffix) for suffix in _KINDS}, _font() is not None


def _comes_back(suffix: str) -> bool:
    """Whether a picture survives being written and read as such a file."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture += np.linspace(0, 255, 32, dtype=np.uint8)[:, None, None]
    try:
        made, data = cv2.imencode(suffix, picture)
        back = cv2.imdecode(data, cv2.IMREAD_COLOR) if made else None
    except cv2.error:
        return False
    return back is not None and back.shape == picture.shape and float(np.abs(back.astype(int) - picture).mean()) < 8
