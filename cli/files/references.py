"""Images that an optimisation is given by name: to begin with, to compare with, to take the spectrum of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError, MethodError
from ...engine.preprocess.arrays import read_array
from ...models import samples
from .find import find
from .images import read
from .photos import read_photo

if TYPE_CHECKING:
    from ...engine.graph.model import Model

# Images whose spectrum is taken at most, and their longest side in memory.
_MOST, _SIDE = 512, 512


def read_image(path: str | os.PathLike[str], model: Model | None = None) -> NDArray[Any]:
    """uint8 (H, W, 3) of an image file; what the card of a model reads of it, where one is given. Raises ImageError."""
    from ...engine.attribution.photos import card_or_none

    return np.asarray(read(path) if model is None else read_photo(path, card_or_none(model)))


def read_mask(path: str | os.PathLike[str]) -> NDArray[Any]:
    """(H, W) of an image file, the greatest of its channels, or of an .npy file. Raises ImageError."""
    if Path(path).suffix == ".npy":
        return read_vector(path)
    return np.asarray(read_image(path).max(axis=2))


def read_vector(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array of an .npy file. Raises MethodError."""
    try:
        return np.asarray(read_array(str(path)))
    except ValueError as error:
        raise MethodError(f"the file {str(path)!r} cannot be read as a NumPy array: {error}") from None


def spectrum_of(given: Any, parametrisation: Any) -> Any:
    """Images for maco's spectrum: those of a folder or of paths, the sample images where maco is asked for without.

    Raises ImageError where a folder holds no image, or none that can be read.
    """
    if given is None and not str(parametrisation or "").startswith("maco"):
        return None
    if given is not None and not _are_names(given):
        return given
    from ...kernels.resize import resize

    names = [str(given)] if isinstance(given, str | os.PathLike) else [str(name) for name in given or samples()]
    paths = list(find(names))[:_MOST]
    found: list[NDArray[np.uint8]] = []
    first: ImageError | None = None
    for path in paths:
        try:
            image = np.asarray(read(path))
        except ImageError as error:
            first = first or error
            continue
        factor = min(1.0, _SIDE / max(image.shape[:2]))
        size = (max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor)))
        found.append(np.asarray(resize(image, size)))
    if not found:
        raise ImageError(f"none of the {len(paths)} images for the spectrum can be read: {first}")
    return found


def _are_names(given: Any) -> bool:
    if isinstance(given, str | os.PathLike):
        return True
    return isinstance(given, list | tuple) and bool(given) and all(isinstance(g, str | os.PathLike) for g in given)
