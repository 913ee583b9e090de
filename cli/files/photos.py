"""Pictures as a model's card reads them: of 8 bits as in `images`, else with all of their bits and bands."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError
from ...engine.preprocess.arrays import is_array_file, read_array
from ...engine.preprocess.depth import FEW_BITS, WHITE, shown
from .bit_depth import sixteen_bits, upright
from .dicom import is_dicom, picture_and_notes, pixels_of
from .image_headers import read_header
from .images import MAX_DECODED, MAX_PIXELS, as_rgb, read, read_bytes, stored_of

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card


def read_photo(path: str | os.PathLike[str], card: Card | None) -> NDArray[Any]:
    """The picture in a file, as `photo_of`. Raises ImageError."""
    return photo_of(path, read_bytes(path), card)[0]


def read_shown(path: str | os.PathLike[str], card: Card | None) -> NDArray[np.uint8]:
    """What of the picture in a file is looked at: uint8 (H, W, 3) RGB. Raises ImageError, CardError, ShapeError."""
    return read(path) if card is None else shown(read_photo(path, card), card)


def photo_of(path: str | os.PathLike[str], data: bytes, card: Card | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The picture in the bytes of a file, and what should be said of it.

    uint8 (H, W, 3) RGB of 8 bits; uint16 (H, W) or (H, W, 3) of more; where the card names bands (H, W, bands): the
    channels of all pages of a TIFF, or the array of an .npy file. Raises ImageError.
    """
    where = repr(os.fspath(path))
    if is_array_file(Path(path)):
        return _array(Path(path), where), ()
    if card is not None and card.has_bands and data[:4] in _TIFF:
        return _pages(data, where), ()
    if is_dicom(data):
        ends = None if card is None or isinstance(card.window, str) else card.window
        return picture_and_notes(data, where, ends)
    stored, header = stored_of(data, MAX_PIXELS, where)
    if card is not None and card.has_bands:
        return upright(_in_order(stored), header.orientation), header.notes
    if stored.dtype == np.uint8 or (stored.ndim == 3 and stored.shape[2] not in (1, 3, 4)):
        return upright(as_rgb(stored, header, where), header.orientation), header.notes
    if stored.dtype != np.uint16:
        as_rgb(stored, header, where)  # which refuses it
    pixels, more = sixteen_bits(stored, header, _ends(card))
    if header.maximum not in (None, WHITE) and _ends(card) is None and pixels.max() < 1 << FEW_BITS:
        pixels = as_rgb(stored, header, where)  # the file says what is white: it is meant to be so dark
    return upright(pixels, header.orientation), (*header.notes, *more)


def size_of(path: Path, data: bytes, card: Card | None) -> int:
    """The pixels of a picture, before it is decoded; of bands at most. Raises ImageError."""
    if is_array_file(path) or (card is not None and card.has_bands and data[:4] in _TIFF):
        return len(data)
    if is_dicom(data):
        return pixels_of(data, repr(str(path)))
    header = read_header(data, repr(str(path)))
    return header.width * header.height


def is_photo_file(path: Path, model: Model) -> bool:
    """Whether a file holds a picture: any that is no array, and an .npy of one whose numbers the model's card reads."""
    from ...engine.attribution.photos import photos_of

    if not is_array_file(path):
        return True
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        shape, dtype = array.shape, array.dtype
    except (OSError, ValueError, EOFError, AttributeError):
        return False  # said when it is read
    # Arrays are told by type and shape: no number is looked at.
    return len(shape) in (2, 3) and photos_of(model, np.broadcast_to(np.zeros((), dtype), shape)) is not None


def _ends(card: Card | None) -> tuple[float, float] | None:
    """The values that are black and white, where the card says so."""
    if card is None or (card.bits is None and card.window is None):
        return None
    if card.window is None or card.window == "none":
        return 0.0, float((1 << (card.bits or 16)) - 1)
    return card.window


def _array(path: Path, where: str) -> NDArray[Any]:
    try:
        return read_array(path)
    except ValueError as error:
        raise ImageError(f"{where} cannot be read as an array: {error}") from None


def _in_order(stored: NDArray[Any]) -> NDArray[Any]:
    """The channels of a decoded image in the order of the file, (H, W, bands)."""
    if stored.ndim == 2:
        return stored[..., None]
    return stored[..., [2, 1, 0, *range(3, stored.shape[2])]] if stored.shape[2] > 2 else stored


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What reading a TIFF that somebody else has written may raise.
_BROKEN = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, RuntimeError, OSError),
    *(NotImplementedError, struct.error, zlib.error, EOFError),
)
_MOST_PAGES = 512


def _pages(data: bytes, where: str) -> NDArray[Any]:
    """The channels of all pages of a TIFF that have the size of the first, (H, W, bands). Raises ImageError."""
    from tifffile import TiffFile, TiffFileError

    try:
        with _loud(), TiffFile(io.BytesIO(data)) as file:
            first = file.pages[0]
            size = first.imagelength, first.imagewidth
            alike = [p for p in list(file.pages[:_MOST_PAGES]) if (p.imagelength, p.imagewidth) == size]
            total = sum(size[0] * size[1] * p.samplesperpixel * max(1, p.bitspersample // 8) for p in alike)
            if size[0] * size[1] > MAX_PIXELS or total > MAX_DECODED:
                raise ImageError(f"{where} has {total >> 20} MiB in its bands, more than {MAX_DECODED >> 20} MiB")
            return np.concatenate([_channels(page) for page in alike], axis=2)
    except (*_BROKEN, TiffFileError) as error:
        raise ImageError(f"{where} cannot be read as a TIFF of bands: {' '.join(str(error).split())[:200]}") from None


class _Raising(logging.Handler):
    """Raises what is logged as an error."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            raise ValueError(record.getMessage())


@contextlib.contextmanager
def _loud() -> Iterator[None]:
    """What tifffile only logs, such as a page that is not there, is an error, and nothing of it goes to stderr."""
    log, handler = logging.getLogger("tifffile"), _Raising()
    kept, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = kept


def _channels(page: Any) -> NDArray[Any]:
    """(H, W, samples) of a page."""
    array = np.asarray(page.asarray())
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ValueError(f"a page has the shape {array.shape}")
    return np.moveaxis(array, 0, 2) if page.axes.startswith("S") else array
