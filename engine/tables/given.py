"""A table as it is given: its rows, the names of its columns, and rows to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a table, to be explained column by column.

    rows: (N, columns) array, a list of rows, one row, {column: values}, or a data frame of pandas or polars. Texts and
        numbers may be mixed; what is missing is None, NaN or an empty text.
    names: of the columns, where `rows` has none.
    background: rows of the same form whose values stand in for those of hidden columns; by default the rows themselves,
        where there are several. At most `background_rows` of them, an option of the methods, are taken.

    A model with an input for each column takes them by name, the rest is left out; one that takes a matrix takes the
    columns in their order. Columns of a background with names are taken by name, without names by place. Raises
    ShapeError for rows that do not fit each other or their names, and for a background that lacks a column.
    """

    rows: Any
    names: Sequence[str] = ()
    background: Any = None

    def __post_init__(self) -> None:
        given = _own_names(self.rows)
        names, cells = _read(self.rows, tuple(map(str, self.names)), "the table")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "rows", cells)
        if self.background is None:
            return
        own, behind = _read(self.background, (), "the background")
        if own and names and own != given:
            behind = behind[:, columns_of(own, names)]
        if behind.shape[1] != cells.shape[1]:
            raise ShapeError(
                f"the background has {behind.shape[1]} columns and the table {cells.shape[1]}: give the same ones"
            )
        object.__setattr__(self, "background", behind)

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, rows: Sequence[int]) -> Table:
        """Some of the rows, with the whole table as their background where they have none of their own."""
        return Table(self.rows[list(rows)], self.names, self.to_compare)

    @property
    def to_compare(self) -> NDArray[Any] | None:
        """The rows of the background, None where there is but the one row that is explained."""
        return self.background if self.background is not None else self.rows if len(self.rows) > 1 else None


def columns_of(background: Sequence[str], names: Sequence[str]) -> list[int]:
    """The places in a background of the columns `names`. Raises ShapeError where one is missing."""
    missing = [name for name in names if name not in background]
    if missing:
        raise ShapeError(
            f"the background lacks the column{'s' * (len(missing) > 1)} {', '.join(missing[:12])} of the table: give "
            "the same names, or rows without names, which are taken by place"
        )
    return [list(background).index(name) for name in names]


def _own_names(rows: Any) -> tuple[str, ...]:
    """The names that rows have by themselves."""
    if hasattr(rows, "columns") and hasattr(rows, "to_numpy"):
        return tuple(map(str, rows.columns))
    return tuple(map(str, rows)) if isinstance(rows, Mapping) else ()


def _read(rows: Any, names: tuple[str, ...], what: str) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The names and cells (N, columns) of rows in any of their forms."""
    if hasattr(rows, "columns") and hasattr(rows, "to_numpy"):
        names = names or tuple(map(str, rows.columns))
        rows = {name: rows[column].to_numpy() for name, column in zip(names, rows.columns, strict=False)}
    if isinstance(rows, Mapping):
        names = names or tuple(map(str, rows))
        columns = [np.asarray(column).reshape(-1) for column in rows.values()]
        if len({len(column) for column in columns}) > 1:
            listed = ", ".join(f"{name}: {len(column)}" for name, column in zip(names, columns, strict=False))
            raise ShapeError(f"the columns of {what} have different numbers of rows ({listed})")
        alike = all(column.dtype.kind in "fiub" for column in columns)
        cells = np.stack([column if alike else column.astype(object) for column in columns], axis=1)
    else:
        cells = _cells(rows, what)
    if not cells.size:
        raise ShapeError(f"{what} holds no cell: give at least one row")
    if names and len(names) != cells.shape[1]:
        raise ShapeError(f"{what} has {cells.shape[1]} columns and {len(names)} names: give one name for each column")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ShapeError(f"{what} has two columns called {twice!r}: give each a name of its own")
    return names, cells


def _cells(rows: Any, what: str) -> NDArray[Any]:
    try:
        cells = np.asarray(rows)
        if cells.dtype.kind not in "fiub":  # numbers among texts stay numbers
            cells = np.array(rows, object)
    except ValueError:
        raise ShapeError(f"the rows of {what} have different numbers of columns: give each as many") from None
    if cells.ndim == 1:
        cells = cells[None]
    if cells.ndim != 2:
        raise ShapeError(f"{what} has the shape {list(cells.shape)}: rows and columns are two axes")
    return cells
