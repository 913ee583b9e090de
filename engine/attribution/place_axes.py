"""Where the places of a sample lie that is no image: along a signal, the times of a series, a volume."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import MethodError
from ..graph.model import Model
from ..inspect.concrete_shapes import spatial_input
from ..inspect.input_kind import input_kinds


def place_axes(model: Model, name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of a sample of that shape that neighbours lie along; () where nothing says which.

    One of a signal, of a series (times, through all features), of a table or another row; three of a volume.
    """
    source = spatial_input(model)
    if source is not None and source[0] == name and len(source[1]) in (1, 3):
        return tuple(axis - 1 for axis in source[1])
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if len(wide) <= 1:
        return (wide[0] if wide else len(shape) - 1,)
    return (0,) if len(shape) == 2 and input_kinds(model)[name].axes == "NTF" else ()


def is_table(model: Model, name: str) -> bool:
    """Whether the elements of a sample are columns, which have no neighbours."""
    found = input_kinds(model).get(name)
    return found is not None and found.kind in ("table", "number")


def numbers_along(
    given: int | str | Sequence[int | str], shape: Sequence[int], axes: tuple[int, ...], what: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers, and the axes of a sample that they belong to: one for all places, or one for each axis of places.

    As many as the sample has axes are meant for all of them; of a signal with channels, places come first, [T, F]
    however the sample lies. `what` they are, for messages. Raises MethodError for other numbers.
    """
    numbers = whole_numbers(given, what)
    if axes and len(numbers) in (1, len(axes)):
        return (numbers * len(axes) if len(numbers) == 1 else numbers), axes
    if len(numbers) == len(shape):
        order = (*axes, *(axis for axis in range(len(shape)) if axis not in axes)) if len(axes) == 1 else ()
        pairs = sorted(zip(order or range(len(shape)), numbers, strict=True))
        return tuple(number for _, number in pairs), tuple(range(len(shape)))
    each = f"one number, {len(axes)} or " if len(axes) > 1 else "one number or " if axes else ""
    raise MethodError(f"{what} of samples of {list(shape)} takes {each}{len(shape)} numbers, not {len(numbers)}")


def whole_numbers(given: int | str | Sequence[int | str], what: str) -> tuple[int, ...]:
    """4, "4x8" or [4, 8] as numbers of at least 1. Raises MethodError."""
    parts = str(given).lower().split("x") if isinstance(given, str | int) else [str(part) for part in given]
    found = [part.strip() for part in parts]
    if not found or not all(re.fullmatch(r"[0-9]{1,6}", part) and int(part) for part in found):
        raise MethodError(f"{what} is whole numbers of at least 1, such as 8, 4x8 or [4, 8], not {given!r}")
    return tuple(int(part) for part in found)
