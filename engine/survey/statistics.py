"""Statistics of units that are the same numbers however a data set is cut into batches and shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.extremes import DIGITS, Extremes, Sums, add, no_sums


@dataclass(frozen=True)
class UnitStatistics:
    """Of every unit over all images and places; each image counts the same.

    Attributes: `means` and `squares`, exact sums over images of the mean value and the mean squared value; `highest`,
    `lowest` float32 (units,); `active` int64 (units,), how many values are above 0; `firing` int64 (units,), in how
    many images one is.
    """

    means: Sums
    squares: Sums
    highest: NDArray[np.float32]
    lowest: NDArray[np.float32]
    active: NDArray[np.int64]
    firing: NDArray[np.int64]


def no_statistics(units: int) -> UnitStatistics:
    """Of no image."""
    return UnitStatistics(
        no_sums(units),
        no_sums(units),
        np.full(units, -np.inf, np.float32),
        np.full(units, np.inf, np.float32),
        np.zeros(units, np.int64),
        np.zeros(units, np.int64),
    )


def gather(state: UnitStatistics, found: Extremes) -> None:
    """Add a batch, in place: arrays of `found` are those of (images * units,) rows."""
    units = len(state.highest)

    def rows(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(-1, units)

    add(state.means, rows(found.mean))
    add(state.squares, rows(found.square))
    np.fmax(state.highest, np.fmax.reduce(rows(found.highest)), out=state.highest)
    np.fmin(state.lowest, np.fmin.reduce(rows(found.lowest)), out=state.lowest)
    state.active[:] += rows(found.active).sum(axis=0)
    state.firing[:] += (rows(found.active) > 0).sum(axis=0)


def merge_statistics(state: UnitStatistics, other: UnitStatistics) -> None:
    """Add what `other` has seen, in place."""
    for mine, theirs in ((state.means, other.means), (state.squares, other.squares)):
        mine.digits[:] += theirs.digits
        mine.broken[:] += theirs.broken
    np.fmax(state.highest, other.highest, out=state.highest)
    np.fmin(state.lowest, other.lowest, out=state.lowest)
    state.active[:] += other.active
    state.firing[:] += other.firing


def arrays_of(state: UnitStatistics) -> dict[str, NDArray[Any]]:
    """The arrays to save, by name."""
    return {
        "means": np.column_stack([state.means.digits, state.means.broken]),
        "squares": np.column_stack([state.squares.digits, state.squares.broken]),
        "highest": state.highest,
        "lowest": state.lowest,
        "active": state.active,
        "firing": state.firing,
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> UnitStatistics:
    """What `arrays_of` gave. Raises KeyError."""
    kept = {name: arrays[name].copy() for name in ("highest", "lowest", "active", "firing")}
    return UnitStatistics(sums_from(arrays["means"]), sums_from(arrays["squares"]), **kept)


def sums_from(array: NDArray[Any]) -> Sums:
    """Sums of an array (units, 11): the digits, then how many numbers were broken."""
    whole = np.array(array, np.int64)
    return Sums(np.ascontiguousarray(whole[:, :DIGITS]), np.ascontiguousarray(whole[:, DIGITS]))
