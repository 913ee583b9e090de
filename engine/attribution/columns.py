"""A table whose columns are inputs of their own, explained as one set of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import ShapeError
from ..graph.joined import column_inputs, joined
from ..graph.model import Model
from ..preprocess.labels import read_labels
from .inputs import Input


def input_of_columns(model: Model, given: Any) -> tuple[Model, Input] | None:
    """The model with its columns as one input, and that input; None where it takes no columns, or one was named.

    given: {input name: (N, 1), (N,) or one value}. Raises ShapeError for columns of different lengths.
    """
    names = column_inputs(model)
    if not names or not isinstance(given, Mapping) or "input" in model.overrides or set(given) != set(names):
        return None
    columns = {name: _column(name, given[name]) for name in names}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        listed = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise ShapeError(f"the columns have different numbers of rows ({listed}): give one value per sample for each")
    dtype = _common(model, names)
    made, name = joined(model, names, dtype)
    x = np.concatenate([_as(columns[n], dtype) for n in names], axis=1)
    neutral = np.array(["" if _is_text(model, n) else "0" for n in names], object) if _is_object(dtype) else None
    labels = model.overrides.get("labels")
    read = None if labels is None else read_labels(labels, "the options given")
    return made, Input(name, x, {}, labels=read, columns=names, neutral=neutral)


def background_of_columns(model: Model, rows: Mapping[str, ArrayLike]) -> NDArray[Any]:
    """Rows of a background, {input name: (B, 1) or (B,)}, as one array (B, columns). Raises ShapeError."""
    names = column_inputs(model)
    missing = [name for name in names if name not in rows]
    if missing or not names:
        raise ShapeError(f"the background lacks the columns {', '.join(missing)}: give each of {', '.join(names)}")
    dtype = _common(model, names)
    return np.concatenate([_as(_column(n, rows[n]), dtype) for n in names], axis=1)


def _column(name: str, given: ArrayLike) -> NDArray[Any]:
    array = np.asarray(given)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise ShapeError(f"the column {name!r} was given an array of shape {list(array.shape)}: (N, 1) is one")
    return array.reshape(-1, 1)


def _is_text(model: Model, name: str) -> bool:
    dtype = model.value(name).dtype
    return dtype is not None and dtype.kind not in "fiub"


def _is_object(dtype: DTypeLike) -> bool:
    return np.dtype(dtype).kind == "O"


def _common(model: Model, names: tuple[str, ...]) -> DTypeLike:
    if any(_is_text(model, name) for name in names):
        return object
    kinds = {np.dtype(model.value(name).dtype) for name in names}
    return kinds.pop() if len(kinds) == 1 else np.float64


def _as(column: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    if not _is_object(dtype):
        return column.astype(dtype)
    # Numbers as texts that read back as the same number.
    texts = [str(v) if isinstance(v, str) else repr(v.item() if hasattr(v, "item") else v) for v in column.ravel()]
    return np.array(texts, object).reshape(column.shape)
