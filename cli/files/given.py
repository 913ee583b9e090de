"""What a user of Python gives: names of files, Pillow images and arrays, with the files decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.attribution.inputs import CARD_OPTIONS
from ...engine.attribution.photos import card_or_none
from ...engine.attribution.series import takes_series
from ...engine.attribution.sounds import is_sound
from ...engine.attribution.tables import takes_rows
from ...engine.attribution.texts import is_text
from ...engine.attribution.volumes import is_volume
from ...engine.errors import ImageError
from ...engine.graph.model import Model, Source
from ...engine.load import load
from ...engine.preprocess.arrays import is_array_file
from ...engine.preprocess.card import Card
from ...engine.preprocess.depth import WHITE
from ...engine.sound.given import Sound
from ...engine.tables.given import Table
from ...engine.text.given import Text
from ...engine.text.roles import roles_of
from ...engine.volumes.fitting import takes_volumes
from ...engine.volumes.given import Volume
from .nifti import is_nifti
from .sounds import is_sound_file, read_sound
from .tables import is_table_file, read_series, read_table
from .texts import read_text
from .volumes import is_volume_path, read_volume


@dataclass(frozen=True)
class GivenFiles:
    """An input with its files decoded: `value`, of `count` images at least.

    files: place in the list -> path and what is to be said of it. listed: whether images came in a list.
    """

    value: Any
    count: int
    files: Mapping[int, tuple[str, Sequence[str]]]
    listed: bool = False


def given_of(model: Source, image: Any, options: dict[str, Any]) -> tuple[Source, GivenFiles, dict[str, Any]]:
    """What the engine takes of what a user gives: the model, the input, and options.

    Files are read as the model's card says, so the model is loaded for them. Raises ImageError for one that cannot be
    read, and what `load` raises.
    """
    if hasattr(image, "columns") and hasattr(image, "to_numpy"):  # a data frame, of a package that is not imported
        image = Table(image)
    parts = image.values() if isinstance(image, Mapping) else image if isinstance(image, list | tuple) else [image]
    if not any(isinstance(part, str | os.PathLike | Text | Sound | Volume) for part in parts):
        return model, decoded(image, None), options
    ready, rest = loaded(model, options)
    image = _opened_sounds(_opened_volumes(ready, image))
    if is_volume(image):
        return ready, GivenFiles(image, 1, {}), rest
    if is_sound(image):
        several = isinstance(image, list | tuple)
        return ready, GivenFiles(image, len(image) if several else 1, {}, several), rest
    if isinstance(image, str | os.PathLike) and is_table_file(Path(image)):
        if takes_rows(ready):
            return ready, GivenFiles(read_table(Path(image)), 1, {}), rest
        if takes_series(ready):
            return ready, GivenFiles(read_series(Path(image)), 1, {}), rest
    if is_text(ready, opened := _opened_texts(ready, image)):
        listed = isinstance(image, list | tuple)
        given = list(image) if isinstance(image, list | tuple) else [image]
        files: dict[int, tuple[str, Sequence[str]]] = {
            place: (os.fspath(part), ()) for place, part in enumerate(given) if isinstance(part, os.PathLike)
        }
        return ready, GivenFiles(opened, len(given), files, listed), rest
    return ready, decoded(image, card_or_none(ready)), rest


def _opened_volumes(model: Model, image: Any) -> Any:
    """The path of a volume, for a model that reads three axes of space, as what it holds. Raises VolumeError."""
    if isinstance(image, Mapping):
        return {name: _opened_volumes(model, value) for name, value in image.items()}
    is_path = isinstance(image, os.PathLike) or (isinstance(image, str) and len(image) < 4096)
    if is_path and is_volume_path(Path(image)) and (is_nifti(Path(image)) or takes_volumes(model)):
        return read_volume(Path(image))[0]
    return image


def _opened_sounds(image: Any) -> Any:
    """Paths of files of sounds as what these hold; anything else as it is. Raises SoundError."""
    if isinstance(image, list | tuple):
        return [_opened_sounds(part) for part in image]
    if isinstance(image, Mapping):
        return {name: _opened_sounds(value) for name, value in image.items()}
    is_path = isinstance(image, os.PathLike) or (isinstance(image, str) and len(image) < 4096)
    return read_sound(Path(image)) if is_path and is_sound_file(Path(image)) else image


def _opened_texts(model: Model, image: Any) -> Any:
    """Paths of a model of texts as what their files hold; a str is a text already. Raises TextError."""
    if isinstance(image, list | tuple):
        return [_opened_texts(model, part) for part in image]
    if isinstance(image, os.PathLike) and roles_of(model) is not None and not is_array_file(Path(image)):
        return read_text(Path(image))
    return image


def loaded(model: Source, options: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    """The model with its card's options, and the options that are left."""
    fields = {name: value for name, value in options.items() if name in CARD_OPTIONS}
    return load(model, **fields), {name: value for name, value in options.items() if name not in fields}


def decoded(image: Any, card: Card | None) -> GivenFiles:
    """Raises ImageError for a file that cannot be read."""
    if isinstance(image, Mapping):
        return GivenFiles(
            {name: pixels_of(value, card)[0] if _is_picture(value) else value for name, value in image.items()}, 1, {}
        )
    if isinstance(image, (list, tuple)) and image and all(_is_picture(p) or isinstance(p, np.ndarray) for p in image):
        read = [pixels_of(part, card) for part in image]
        files = {place: (source, notes) for place, (_, source, notes) in enumerate(read) if source}
        return GivenFiles([pixels for pixels, _, _ in read], len(read), files, listed=True)
    pixels, source, notes = pixels_of(image, card)
    return GivenFiles(pixels, 1, {0: (source, notes)} if source else {})


def _is_picture(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) or _is_pillow(value)


def _is_pillow(value: Any) -> bool:
    """Whether it is a Pillow image, which is not imported for that."""
    return hasattr(value, "convert") and hasattr(value, "mode") and hasattr(value, "tobytes")


def pixels_of(image: Any, card: Card | None = None) -> tuple[Any, str | None, Sequence[str]]:
    """Pixels, the file they come from and what is to be said of it; what is no file and no Pillow image as it is."""
    if _is_pillow(image) and (image.mode == "I" or image.mode.startswith("I;16")):
        return _deep(np.asarray(image)), None, ()
    if _is_pillow(image):
        plain = "RGBA" if image.mode in ("P", "PA", "LA", "La", "RGBa") else "L" if image.mode == "1" else "RGB"
        return np.asarray(image if image.mode in ("RGB", "RGBA", "L") else image.convert(plain)), None, ()
    if not isinstance(image, str | os.PathLike):
        return image, None, ()
    from .images import read_bytes
    from .photos import photo_of

    source = os.fspath(image)
    data = read_bytes(image)
    pixels, notes = photo_of(image, data, card)
    return pixels, source, notes


def _deep(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Pixels of a Pillow image of more than 8 bits. Raises ImageError."""
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= WHITE:
        raise ImageError(f"the Pillow image holds {values.min()} to {values.max()}: 16 bits are 0 to {WHITE}")
    return values.astype(np.uint16)
