"""From a series to the tensor of a model: which axis is time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CardError, ModelError, ShapeError
from ..graph.model import Model
from ..inspect.input_kind import InputKind, input_kinds
from ..inspect.recurrent_state import state_inputs
from ..inspect.signature import image_input
from ..series.given import Series
from ..text.roles import roles_of

TIMES_FIRST = "NTF"


def takes_series(model: Model) -> bool:
    """Whether a model takes numbers over time: one input of three axes besides states, or a signal of one channel."""
    try:
        image_input(model)
    except (ModelError, CardError):
        found = _input(model)
        return found is not None and roles_of(model) is None
    return False


def _input(model: Model) -> tuple[str, InputKind] | None:
    values = [v for v in model.inputs if v.name not in state_inputs(model)]
    if len(values) != 1 or values[0].dtype is None or values[0].dtype.kind != "f":
        return None
    kind = input_kinds(model)[values[0].name]
    signal = kind.kind == "sound" and values[0].rank == 2
    return (values[0].name, kind) if values[0].rank == 3 or signal else None


def tensor_of(model: Model, series: Series) -> tuple[NDArray[Any], str]:
    """The tensor (1, ...) that a model reads, and how it lies there, with the reason. Raises ShapeError."""
    found = _input(model)
    if found is None:
        wanted = ", ".join(map(str, model.inputs))
        raise ShapeError(f"the model takes {wanted}, no one series of three axes: give arrays")
    name, kind = found
    value = model.value(name)
    dtype = value.dtype or np.dtype(np.float32)
    x = series.values.astype(dtype)
    if value.rank == 2:
        return _single(x, str(value)).T, f"NT: {kind.reason}"
    assert value.shape is not None
    axes, reason = kind.axes, kind.reason
    if "T" not in axes and axes != "NCT":
        axes, reason = _by_size(value.shape, x.shape, str(value))
    time = axes.index("T")
    tensor = x[None] if time == 1 else x.T[None]
    for at, what in ((time, "times"), (3 - time, "features")):
        size, given = value.shape[at], tensor.shape[at]
        if isinstance(size, int) and size != given:
            remedy = f"choose {size} of them" if given > size else f"the model needs {size}"
            option = ("--rows" if what == "times" else "--columns") + " of the command line"
            raise ShapeError(f"the series has {given} {what} and the input {value} takes {size}: {remedy} ({option})")
    return np.ascontiguousarray(tensor), f"{axes}: {reason}"


def _single(x: NDArray[Any], wanted: str) -> NDArray[Any]:
    if x.shape[1] != 1:
        raise ShapeError(
            f"the series has {x.shape[1]} features and the input {wanted} takes one: choose it (--columns)"
        )
    return x


def _by_size(declared: tuple[int | str | None, ...], given: tuple[int, ...], wanted: str) -> tuple[str, str]:
    """The axes by their sizes, where nothing else says them. Raises ShapeError where both ways fit, or none."""
    fits = [
        all(not isinstance(size, int) or size == n for size, n in zip(declared[1:], shape, strict=True))
        for shape in (given, given[::-1])
    ]
    if fits == [True, True] and given[0] != given[1]:
        symbols = [not isinstance(size, int) for size in declared[1:]]
        fits = [symbols == [True, False], symbols == [False, True]] if sum(symbols) == 1 else fits
    if sum(fits) != 1:
        raise ShapeError(
            f"whether the input {wanted} has times before features is not known: say axes='NTF' or axes='NFT'"
        )
    return (TIMES_FIRST if fits[0] else "NFT"), "by the sizes of the series"
