"""Files that targets name: NumPy's arrays are read here, pictures by whoever can decode them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ..errors import TargetError
from ..preprocess.arrays import read_array


def read_file(file: str, what: str, picture: Callable[[str], NDArray[Any]]) -> NDArray[Any]:
    """The array of an .npy file, or what `picture` makes of another one. Raises TargetError; `what` the file is."""
    if not file.lower().endswith(".npy"):
        return picture(file)
    return array_of(file, what)


def array_of(file: str, what: str) -> NDArray[Any]:
    """The array of an .npy file. Raises TargetError."""
    try:
        return read_array(file)
    except ValueError as error:
        raise TargetError(f"{what} {file!r} cannot be read as a NumPy array: {error}") from None


def no_picture(file: str) -> NDArray[Any]:
    """For targets that nobody has opened: pictures are not decoded in the engine. Raises TargetError."""
    raise TargetError(f"{file!r} is a picture: read it and give the target its array, or save it as .npy")
