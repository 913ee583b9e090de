"""From a table to the input of a problem: which column goes where, in which type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import CardError, ModelError, ShapeError
from ..graph.joined import joined
from ..graph.model import Model
from ..inspect.recurrent_state import state_inputs
from ..inspect.signature import image_input
from ..preprocess.labels import read_labels
from ..proto.values import Value
from ..tables.given import Table
from ..text.roles import roles_of
from .inputs import Input, read_labels_of

# What stands in a cell for a value that is not known.
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
_MOST_NAMED = 12


@dataclass(frozen=True)
class Places:
    """Where the columns of a table go. inputs: of the model, and how many columns each takes. chosen: the places in the
    table of these columns, in order; names: theirs; notes: what is to be said of that."""

    inputs: tuple[tuple[str, int], ...]
    chosen: tuple[int, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]


def input_of_table(model: Model, table: Table) -> tuple[Model, Input]:
    """The model with all columns in one input, and that input. Raises ShapeError for a table that does not fit."""
    places = places_of(model, table)
    x = _matrix(model, places, table.rows)
    labels = model.overrides.get("labels")
    read = read_labels_of(model) if labels is None else read_labels(labels, "the options given")
    if len(places.inputs) == 1:
        return model, Input(places.inputs[0][0], x, {}, labels=read, columns=places.names, notes=places.notes)
    inputs, widths = [name for name, _ in places.inputs], [width for _, width in places.inputs]
    made, name = joined(model, inputs, x.dtype, widths)
    neutral = _neutral(model, places) if x.dtype == object else None
    return made, Input(name, x, {}, labels=read, columns=places.names, neutral=neutral, notes=places.notes)


def background_of_table(model: Model, table: Table) -> NDArray[Any] | None:
    """The rows to compare with, (B, columns), as the input of `input_of_table` has them; None where there are none."""
    return None if table.to_compare is None else _matrix(model, places_of(model, table), table.to_compare)


def takes_rows(model: Model) -> bool:
    """Whether a model takes the rows of a table: no image and no text, and every input has two axes."""
    try:
        image_input(model)
    except (ModelError, CardError):
        values = [v for v in model.inputs if v.name not in state_inputs(model)]
        return bool(values) and all(v.rank == 2 for v in values) and roles_of(model) is None
    return False


def places_of(model: Model, table: Table) -> Places:
    """Raises ShapeError for a model that takes no table, or other columns."""
    values = [v for v in model.inputs if v.name not in state_inputs(model)]
    wide = [v for v in values if v.rank is not None and v.rank != 2]
    if wide or not values:
        raise ShapeError(f"the model takes {', '.join(map(str, wide))}, no rows of a table: give arrays")
    widths = [_width(v, len(values), table) for v in values]
    inputs, count = tuple(zip((v.name for v in values), widths, strict=True)), sum(widths)
    names = table.names or tuple(f"column {i}" for i in range(table.rows.shape[1]))
    by_name = _by_name([name for name, _ in inputs], names) if set(widths) == {1} and len(values) > 1 else None
    if by_name is not None:
        left = [name for i, name in enumerate(names) if i not in by_name]
        notes = (f"no input takes the column{'s' * (len(left) > 1)} {_listed(left)}: left out",) if left else ()
        return Places(inputs, by_name, tuple(names[i] for i in by_name), notes)
    if len(names) != count:
        wanted = ", ".join(str(v) for v in values[:_MOST_NAMED])
        raise ShapeError(
            f"the table has {len(names)} columns ({_listed(names)}) and the model takes {count} ({wanted}): give those "
            "that it takes alone, in its order (--columns of the command line)"
        )
    notes = ("the names of the columns are no inputs of the model: they are taken in order",)
    return Places(inputs, tuple(range(count)), tuple(names), notes if len(values) > 1 and table.names else ())


def chosen_columns(table: Table, columns: Sequence[str]) -> Table:
    """The table with these columns alone, in this order. Raises ShapeError for one that it does not have."""
    missing = [name for name in columns if name not in table.names]
    if missing:
        raise ShapeError(f"the table has no column {missing[0]!r}: it has {_listed(table.names)}")
    at = [list(table.names).index(name) for name in columns]
    return Table(table.rows[:, at], columns, None if table.background is None else table.background[:, at])


def _width(value: Value, inputs: int, table: Table) -> int:
    width = value.shape[1] if value.shape is not None and len(value.shape) == 2 else None
    if isinstance(width, int):
        return width
    if inputs == 1:
        return int(table.rows.shape[1])
    raise ShapeError(f"how many columns the input {value} takes is not known: declare it in the model")


def _by_name(inputs: Sequence[str], names: Sequence[str]) -> tuple[int, ...] | None:
    """The places of the columns that inputs are called after; None where none is. Raises ShapeError where some are."""
    for form in (str, _plain):
        known = {form(name): place for place, name in reversed(list(enumerate(names)))}
        found = [known.get(form(name)) for name in inputs]
        if all(place is not None for place in found):
            return tuple(place for place in found if place is not None)
    missing = [name for name, place in zip(inputs, found, strict=True) if place is None]
    if len(missing) < len(inputs) or len(names) != len(inputs):
        raise ShapeError(f"the table has no column {_listed(missing)} for the model: it has {_listed(names)}")
    return None


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _matrix(model: Model, places: Places, rows: NDArray[Any]) -> NDArray[Any]:
    """The cells as the model takes them, (N, columns): of one type, objects where one of the inputs is of texts."""
    dtypes = [model.value(name).dtype for name, width in places.inputs for _ in range(width)]
    parts = zip(places.chosen, places.names, dtypes, strict=True)
    columns = [_column(rows[:, at], name, dtype) for at, name, dtype in parts]
    kinds = {column.dtype for column in columns}
    if all(kind.kind != "O" for kind in kinds):
        return np.stack(columns, axis=1).astype(kinds.pop() if len(kinds) == 1 else np.float64)
    return np.stack([_as_texts(column) for column in columns], axis=1)


def _column(cells: NDArray[Any], name: str, dtype: DTypeLike | None) -> NDArray[Any]:
    """Cells in the type of an input. Raises ShapeError for a cell that is no number where one is taken."""
    kind = np.dtype(np.float32) if dtype is None else np.dtype(dtype)
    if kind.kind not in "fiub":
        return np.array([_text(cell) for cell in cells], object)
    numbers = (
        cells.astype(np.float64)
        if cells.dtype.kind in "fiub"
        else np.array([_number(cell, name, row) for row, cell in enumerate(cells)], np.float64)
    )
    if kind.kind in "iub" and not (np.isfinite(numbers) & (numbers == np.rint(numbers))).all():
        row = int(np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.rint(numbers))))[0])
        raise ShapeError(f"row {row}, column {name!r}: {cells[row]!r} is no whole number, which the model takes")
    return numbers.astype(kind)


def _number(cell: Any, name: str, row: int) -> float:
    if isinstance(cell, str) and cell.strip().lower() in ("true", "false"):
        return float(cell.strip().lower() == "true")
    if _is_missing(cell):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise ShapeError(f"row {row}, column {name!r}: {cell!r} is no number, which the model takes") from None


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else "" if _is_missing(cell) else str(cell)


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    return cell is None or cell != cell


def _as_texts(column: NDArray[Any]) -> NDArray[Any]:
    """Numbers as texts that read back as the same number."""
    return column if column.dtype == object else np.array([repr(v) for v in column.tolist()], object)


def _neutral(model: Model, places: Places) -> NDArray[Any]:
    texts = [model.value(name).dtype for name, width in places.inputs for _ in range(width)]
    return np.array(["0" if dtype is None or dtype.kind in "fiub" else "" for dtype in texts], object)
