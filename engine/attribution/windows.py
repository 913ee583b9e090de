"""Windows that slide over an image: where they stand, what they cover together, and which of them to look at first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError


def starts(size: int, patch: int, stride: int) -> NDArray[np.int64]:
    """Where windows of `patch` begin along an axis of `size`: 0, stride, ...; one more, flush with the border, if they
    would not cover it."""
    found = list(range(0, size - patch + 1, stride))
    if found[-1] + patch < size:
        found.append(size - patch)
    return np.array(found, np.int64)


@dataclass(frozen=True)
class WindowGrid:
    """Windows of one size over a plane: `patch` and `stride` in rows and columns."""

    plane: tuple[int, int]
    patch: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        for side, patch, stride, name in zip(self.plane, self.patch, self.stride, ("rows", "columns"), strict=True):
            if stride < 1 or patch < 1:
                raise MethodError(
                    f"windows of {patch} {name} in steps of {stride} are none: give at least 1 pixel each"
                )
            if patch > side:
                raise MethodError(
                    f"a patch of {patch} {name} is larger than the model's input of {side}: give a smaller patch"
                )

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        return starts(self.plane[0], self.patch[0], self.stride[0])

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        return starts(self.plane[1], self.patch[1], self.stride[1])

    @property
    def shape(self) -> tuple[int, int]:
        """How many windows stand below and next to each other."""
        return len(self.rows), len(self.columns)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """(P, 4): y0, x0, y1, x1 of every window, row by row."""
        y, x = (a.reshape(-1) for a in np.meshgrid(self.rows, self.columns, indexing="ij"))
        return np.stack([y, x, y + self.patch[0], x + self.patch[1]], 1)

    def mean_cover(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """values (..., ny, nx) -> float32 (..., H, W): at every pixel the mean of the windows that cover it.

        0 where none does (stride larger than the patch).
        """
        down, across = (
            _covers(at, patch, side)
            for at, patch, side in zip((self.rows, self.columns), self.patch, self.plane, strict=True)
        )
        number = down.sum(axis=0)[:, None] * across.sum(axis=0)
        total = down.T @ values @ across
        return np.asarray(total / np.maximum(number, 1), np.float32)


def most_frequent(grids: Sequence[WindowGrid], classes: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int32] | None:
    """The class that most of the windows over a pixel have, int32 (H, W); -1 where no window is.

    classes: of the windows of each grid, (ny, nx). Of equally frequent ones the least. None where any grid has none.
    """
    known = [found for found in classes if found is not None]
    if len(known) < len(classes):
        return None
    result, most = np.full(grids[0].plane, -1, np.int32), np.zeros(grids[0].plane, np.float32)
    for label in np.unique(np.concatenate([found.reshape(-1) for found in known])):
        votes = np.zeros_like(most)
        for grid, found in zip(grids, known, strict=True):
            votes += grid.mean_cover((found == label).astype(np.float64))
        more = votes > most + 1e-6
        result[more], most[more] = label, votes[more]
    return result


def _covers(at: NDArray[np.int64], patch: int, side: int) -> NDArray[np.float64]:
    """(windows, side): 1 where a window covers a pixel."""
    places = np.arange(side)
    return ((places >= at[:, None]) & (places < at[:, None] + patch)).astype(np.float64)


@dataclass(frozen=True)
class Refined:
    """A map (K, ny, nx) of which only some places were looked at (`seen`, bool (ny, nx)), the rest interpolated."""

    values: NDArray[np.float64]
    seen: NDArray[np.bool_]


def refine(
    shape: tuple[int, int],
    look: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    budget: float,
    coarsest: int = 8,
) -> Refined:
    """A map from a part of its places: a coarse grid first, then cells by how much they vary.

    look: values (n, K) at the places (n,), numbered row by row. budget: the share of all places that may be looked at.
    Of every cell of the coarse grid whose corners differ, the midpoints are looked at next, those first where the
    corners differ most; what is between is interpolated linearly. The same answers lead to the same places.
    """
    rows, columns = shape
    most = max(4, int(budget * rows * columns))
    step = coarsest
    while step > 1 and _axis(rows, step).size * _axis(columns, step).size > most:
        step *= 2
    while step > 1 and _axis(rows, step // 2).size * _axis(columns, step // 2).size <= most // 2:
        step //= 2
    seen = np.zeros(shape, bool)
    known: NDArray[np.float64] | None = None

    def visit(places: NDArray[np.bool_]) -> None:
        nonlocal known
        new = np.flatnonzero(places & ~seen)
        if not len(new):
            return
        found = look(new)
        if known is None:
            known = np.zeros((found.shape[1], rows * columns))
        known[:, new] = found.T
        seen.reshape(-1)[new] = True

    first = np.zeros(shape, bool)
    first[np.ix_(_axis(rows, step), _axis(columns, step))] = True
    visit(first)
    assert known is not None
    coarse = step
    while step > 1:
        ys, xs = _axis(rows, step), _axis(columns, step)
        half = step // 2
        grid = known.reshape(-1, rows, columns)
        cells = []
        for i in range(max(len(ys) - 1, 1)):
            for j in range(max(len(xs) - 1, 1)):
                y, x = ys[i : i + 2], xs[j : j + 2]
                if not seen[np.ix_(y, x)].all():
                    continue
                corners = grid[:, y[:, None], x].reshape(len(grid), -1)
                cells.append((-float(np.ptp(corners, axis=1).max()), i, j))
        # All cells of a level in one go: a few windows at a time would be run in small batches.
        chosen, full = seen.copy(), False
        for spread, i, j in sorted(cells):
            if spread == 0:
                continue
            with_cell = chosen.copy()
            with_cell[np.ix_(_axis_between(ys[i : i + 2], half), _axis_between(xs[j : j + 2], half))] = True
            full = bool(with_cell.sum() > most)
            if full:
                break
            chosen = with_cell
        visit(chosen)
        step = 1 if full else half
    return Refined(_interpolated(known.reshape(-1, rows, columns), seen, coarse), seen)


def _axis(size: int, step: int) -> NDArray[np.int64]:
    """Every step-th place and the last one."""
    return np.unique(np.append(np.arange(0, size, step), size - 1))


def _axis_between(ends: NDArray[np.int64], half: int) -> NDArray[np.int64]:
    return np.unique(np.append(np.arange(ends[0], ends[-1], half), ends[-1]))


def _interpolated(values: NDArray[np.float64], seen: NDArray[np.bool_], step: int) -> NDArray[np.float64]:
    """The places that were not seen, from grid to finer grid: linearly between what is known or estimated already."""
    rows, columns = seen.shape
    ys, xs = _axis(rows, step), _axis(columns, step)
    found = values[:, ys[:, None], xs]
    while step > 1:
        step //= 2
        finer_ys, finer_xs = _axis(rows, step), _axis(columns, step)
        found = _along(_along(found, ys, finer_ys, 1), xs, finer_xs, 2)
        ys, xs = finer_ys, finer_xs
        found = np.where(seen[ys[:, None], xs], values[:, ys[:, None], xs], found)
    return found


def _along(values: NDArray[np.float64], at: NDArray[np.int64], to: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
    """Linear interpolation along one axis, from the places `at` to the places `to`."""
    if len(at) == 1:
        return np.repeat(values, len(to), axis)
    left = np.clip(np.searchsorted(at, to, side="right") - 1, 0, len(at) - 2)
    share = (to - at[left]) / (at[left + 1] - at[left])
    share = share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    return np.asarray(values.take(left, axis) * (1 - share) + values.take(left + 1, axis) * share, np.float64)


def sample(unseen: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int64]:
    """Up to `count` places (n,) of those not seen, drawn at random, in order."""
    places = np.flatnonzero(unseen)
    if len(places) <= count:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, count, replace=False))


def patches(given: int | str | Sequence[int | str] | None, plane: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes of windows, (rows, columns) each: a number, "24x48", several of them with commas, or a list of numbers.

    None: a 7th of the shorter side. Raises MethodError.
    """
    if given is None:
        side = max(1, min(plane) // 7)
        return [(side, side)]
    parts = given.split(",") if isinstance(given, str) else [given] if isinstance(given, int) else list(given)
    found = []
    for part in parts or [""]:
        sides = [side.strip() for side in str(part).lower().split("x")]
        if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 7 for side in sides):
            raise MethodError(f"patch must be pixels (32), rows x columns (24x48) or several (16,32), got {given!r}")
        numbers = [int(side) for side in sides]
        found.append((numbers[0], numbers[-1]))
    return found
