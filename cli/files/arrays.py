"""Array files of NumPy as inputs of a model, and what is fed besides them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import ImageError, ShapeError, UnknownName
from ...engine.preprocess.arrays import NPY, is_array_file, read_array, read_arrays

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card


def read_inputs(path: Path, model: Model) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The array of an .npy file, or those of an .npz by input. Raises ImageError, UnknownName for a key that is none.

    A single array of an .npz whose name is no input is taken for the only input.
    """
    try:
        with path.open("rb") as file:
            single = file.read(6) == NPY
        if single:
            return read_array(path)
        found = read_arrays(path)
    except (ValueError, OSError) as error:
        raise ImageError(f"{str(path)!r} cannot be read as arrays: {error}") from None
    names = [v.name for v in model.inputs]
    if len(found) == 1 and len(names) == 1:
        return {names[0]: next(iter(found.values()))}
    for key in found:
        if key not in names:
            raise UnknownName(f"input in {str(path)!r}", key, names, "the arrays of an .npz are named after the inputs")
    return found


def given_of(path: Path, model: Model, more: Mapping[str, NDArray[Any]], card: Card | None = None) -> Any:
    """What a file of arrays, or a picture by the model's card, gives the model, with `more` inputs: an array, or
    {input: array}.

    A picture is for the input of the card, or for an image that it is compared with, where `more` has that one. Raises
    ImageError, UnknownName.
    """
    if not is_array_file(path) and card is not None:
        from .photos import read_photo

        pixels = read_photo(path, card)
        return {free_input(model, more, str(card.input)): pixels, **more} if more else pixels
    if not is_array_file(path):
        raise ImageError(f"{str(path)!r} holds no arrays and the model takes no images: give .npy or .npz files")
    given = read_inputs(path, model)
    if not more:
        return given
    if not isinstance(given, Mapping):
        rest = [v.name for v in model.inputs if v.name not in more]
        given = {rest[0] if rest else model.inputs[0].name: given}
    return {**given, **more}


def free_input(model: Model, more: Mapping[str, Any], usual: str) -> str:
    """The input that a picture is for: the usual one, or another that it is compared with where `more` has that one."""
    from ...engine.inspect.input_sets import input_set

    together = input_set(model)
    names = [usual] if together is None else together.names
    return next((name for name in names if name not in more), usual)


def sha256_of(path: Path) -> str:
    """Raises ImageError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ImageError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def fed(texts: Sequence[str], model: Model) -> dict[str, NDArray[Any]]:
    """The inputs that `NAME=FILE`, `NAME=NUMBER`, `NAME=zeros` and `NAME=ones` give, in the types of the model.

    Raises UnknownName for an input that the model does not have, ShapeError, ImageError.
    """
    from ...engine.inspect.concrete_shapes import concrete_shapes

    found: dict[str, NDArray[Any]] = {}
    declared = {v.name: v for v in model.inputs}
    for text in texts:
        name, equals, given = text.partition("=")
        if not equals or not given:
            raise ShapeError(f"{text!r} feeds nothing: write NAME=FILE, NAME=NUMBER, NAME=zeros or NAME=ones")
        if name not in declared:
            raise UnknownName("model input", name, declared)
        dtype = declared[name].dtype or np.dtype(np.float32)
        shape = concrete_shapes(model).get(name)
        if given in ("zeros", "ones"):
            if shape is None:
                raise ShapeError(f"the shape of {declared[name]} is not known: give an .npy file")
            found[name] = np.full(shape, given == "ones", dtype)
            continue
        try:
            number = float(given)
        except ValueError:
            found[name] = _from_file(Path(given), name, model)
        else:
            found[name] = np.full(shape if shape is not None else (), number, dtype)
    return found


def _from_file(path: Path, name: str, model: Model) -> NDArray[Any]:
    if not path.exists():
        raise ImageError(
            f"there is no file {str(path)!r}: write {name}=FILE, {name}=NUMBER, {name}=zeros or {name}=ones"
        )
    if not is_array_file(path):
        from ...engine.attribution.photos import card_or_none
        from .photos import read_photo

        return read_photo(path, card_or_none(model))
    given = read_inputs(path, model)
    if not isinstance(given, Mapping):
        return given
    if name not in given:
        raise ShapeError(f"{str(path)!r} holds no array called {name!r} but {', '.join(given)}")
    return given[name]
