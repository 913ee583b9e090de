"""What is fed to a model: checked against its inputs, converted where it fits, cut into the model's batch size."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, UnknownName
from ..proto.values import Value


def check_names(given: Collection[str], inputs: Mapping[str, Value], defaults: Collection[str]) -> None:
    """Raise UnknownName for a name that is no input, ShapeError if an input is missing."""
    for name in given:
        if name not in inputs and name not in defaults:
            raise UnknownName("model input", name, inputs)
    missing = [str(v) for n, v in inputs.items() if n not in given]
    if missing:
        raise ShapeError(f"the model also needs the input{'s' * (len(missing) > 1)} {'; '.join(missing)}")


def fit(array: Any, value: Value | None) -> Any:
    """`array` as the input `value` wants it: of its type, C-contiguous, its shape checked but for the batch size.

    Numbers change precision within their kind (float64 to float32, int32 to int64) if they fit; strings may be any
    NumPy strings. Sequences and maps (no dtype) are passed on as they are. Raises ShapeError.
    """
    if isinstance(array, np.generic):
        array = np.asarray(array)  # which ONNX Runtime refuses
    if value is None or value.dtype is None:
        return array
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise ShapeError(f"input {value} was given rows of different lengths: {error}") from None
    array = _convert(array, value)
    if value.shape is not None:
        if array.ndim != len(value.shape):
            raise ShapeError(
                f"input {value} was given an array of shape {list(array.shape)}: the number of axes differs"
            )
        wrong = [i for i, d in enumerate(value.shape) if isinstance(d, int) and i > 0 and array.shape[i] != d]
        if wrong:
            raise ShapeError(f"input {value} was given an array of shape {list(array.shape)}: axis {wrong[0]} differs")
    return np.asarray(array, order="C")


def _convert(array: np.ndarray, value: Value) -> np.ndarray:
    dtype = value.dtype
    if dtype is None or array.dtype == dtype:
        return array
    if dtype.kind == "O" and array.dtype.kind in "UST":
        return array.astype(object)
    if not (_kind(array.dtype) == _kind(dtype) and _kind(dtype) in ("float", "integer", "complex")):
        raise ShapeError(f"input {value} was given {array.dtype} values: convert them to {dtype} first")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if _kind(dtype) == "integer":
        lost = not np.array_equal(converted.astype(array.dtype), array) or bool(np.any((converted < 0) != (array < 0)))
    elif dtype.itemsize < array.dtype.itemsize:
        lost = bool(np.any(np.isfinite(array) & ~np.isfinite(converted.astype(array.dtype))))
    else:
        lost = False
    if lost:
        raise ShapeError(f"input {value} was given {array.dtype} values that {dtype} cannot hold: scale them first")
    return converted


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "iu":
        return "integer"
    if dtype.kind == "f" or dtype.name.startswith(("bfloat", "float")):
        return "float"  # those of ml_dtypes are of no kind for NumPy
    return {"c": "complex", "b": "bool"}.get(dtype.kind) or str(dtype.name)


# Bytes of a batch that is filled up with copies of its last sample.
_MOST_FILLED = 1 << 30


def check_fillable(arrays: Sequence[np.ndarray], rows: int) -> None:
    """Raise ShapeError if filling up to so many rows takes more memory than any batch in use does."""
    needed = sum(array.nbytes // max(1, len(array)) for array in arrays) * rows
    if needed > _MOST_FILLED:
        raise ShapeError(
            f"the model fixes its batch at {rows} samples, which take {needed / (1 << 30):.1f} GiB: the file is "
            "damaged, or export it with a dynamic or smaller batch"
        )


def pieces(feeds: Mapping[str, Any], inputs: Mapping[str, Value], at_once: int = 1) -> list[dict[str, Any]] | None:
    """Feeds cut to the batch size that the model fixes (`at_once` times it); None where they fit as they are.

    Inputs whose first size is open are cut along if they hold as many samples. Raises ShapeError where the number of
    samples is no multiple of the model's, or differs between inputs.
    """
    fixed = {}
    for name, array in feeds.items():
        shape = inputs[name].shape if name in inputs else None
        if shape and isinstance(shape[0], int) and array.shape[0] != shape[0]:
            fixed[name] = (array.shape[0], shape[0])
    if not fixed:
        return None
    (given, size), *rest = fixed.values()
    if any(r != (given, size) for r in rest) or size == 0 or given % size or given == 0:
        counts = "; ".join(f"{inputs[name]} was given {count}" for name, (count, _) in fixed.items())
        raise ShapeError(
            f"the model takes {size} sample{'s' * (size != 1)} at a time ({counts}): give a multiple of that"
        )
    cut = set(fixed)
    for name, array in feeds.items():
        shape = inputs[name].shape if name in inputs else None
        if shape and not isinstance(shape[0], int) and array.shape[0] == given:
            cut.add(name)
    step = size * at_once
    return [{n: a[i : i + step] if n in cut else a for n, a in feeds.items()} for i in range(0, given, step)]


def join(names: list[str], runs: list[list[Any]], samples: list[int]) -> dict[str, np.ndarray]:
    """Outputs of several pieces, of that many samples each, as one. Raises ShapeError for one without a batch axis."""
    joined = {}
    for name, parts in zip(names, zip(*runs, strict=True), strict=True):
        if not all(
            isinstance(p, np.ndarray) and p.ndim and p.shape[0] == count
            for p, count in zip(parts, samples, strict=True)
        ):
            raise ShapeError(
                f"output {name!r} does not hold one entry per sample, so that pieces of a batch cannot be joined: run "
                f"{samples[0]} sample{'s' * (samples[0] != 1)} at a time"
            )
        joined[name] = np.concatenate(parts)
    return joined
