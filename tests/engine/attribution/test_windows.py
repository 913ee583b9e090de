"""Windows over an image: where they stand, what they cover, which of them a coarse look needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxray.engine.attribution.windows import WindowGrid, patches, refine, sample, starts
from onnxray.engine.errors import MethodError


@pytest.mark.parametrize(
    ("size", "patch", "stride", "expected"),
    [
        (10, 4, 3, [0, 3, 6]),
        (10, 4, 4, [0, 4, 6]),
        (9, 4, 3, [0, 3, 5]),
        (4, 4, 1, [0]),
        (5, 1, 2, [0, 2, 4]),
        (6, 1, 4, [0, 4, 5]),
        (7, 3, 100, [0, 4]),
    ],
)
def test_starts(size: int, patch: int, stride: int, expected: list[int]) -> None:
    """0, stride, 2 stride, ...; one more, flush with the border, if they would not cover it."""
    assert starts(size, patch, stride).tolist() == expected


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
def test_starts_reach_the_border(size: int, patch: int, stride: int) -> None:
    patch = min(patch, size)
    found = starts(size, patch, stride).tolist()
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == size - patch
    assert (np.diff(found)[:-1] == stride).all()


def test_boxes_are_row_by_row() -> None:
    grid = WindowGrid((7, 9), (3, 4), (2, 5))
    assert grid.shape == (3, 2)
    expected = [[y, x, y + 3, x + 4] for y in (0, 2, 4) for x in (0, 5)]
    assert grid.boxes.tolist() == expected
    assert grid.boxes.dtype == np.int64


@pytest.mark.parametrize(("patch", "stride"), [((3, 4), (2, 5)), ((2, 2), (3, 4)), ((1, 1), (1, 1)), ((7, 9), (1, 1))])
def test_every_pixel_gets_the_mean_of_the_windows_over_it(patch: tuple[int, int], stride: tuple[int, int]) -> None:
    grid = WindowGrid((7, 9), patch, stride)
    values = np.random.default_rng(0).standard_normal((2, *grid.shape))
    total, number = np.zeros((2, 7, 9)), np.zeros((7, 9))
    for place, (y0, x0, y1, x1) in enumerate(grid.boxes):
        total[:, y0:y1, x0:x1] += values.reshape(2, -1)[:, place, None, None]
        number[y0:y1, x0:x1] += 1
    got = grid.mean_cover(values)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.where(number, total / np.maximum(number, 1), 0), atol=1e-6)


def test_windows_that_are_none() -> None:
    with pytest.raises(MethodError, match="a patch of 8 rows is larger than the model's input of 7"):
        WindowGrid((7, 9), (8, 2), (1, 1))
    with pytest.raises(MethodError, match="a patch of 10 columns is larger than the model's input of 9"):
        WindowGrid((7, 9), (7, 10), (1, 1))
    with pytest.raises(MethodError, match="in steps of 0 are none"):
        WindowGrid((7, 9), (2, 2), (0, 1))
    with pytest.raises(MethodError, match="windows of 0 columns"):
        WindowGrid((7, 9), (2, 0), (1, 1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [(4, 4)]),
        (5, [(5, 5)]),
        ("5", [(5, 5)]),
        ("3x7", [(3, 7)]),
        ("3X7, 4", [(3, 7), (4, 4)]),
        ((2, 6), [(2, 2), (6, 6)]),
        (("2x3", 6), [(2, 3), (6, 6)]),
    ],
)
def test_sizes_of_windows(given: object, expected: list[tuple[int, int]]) -> None:
    assert patches(given, (30, 40)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["", "a", "3x", "3x4x5", "-3", "3,,4", "1.5", (), (2.5,), "x", "²", "9" * 9])
def test_sizes_that_are_none(given: object) -> None:
    with pytest.raises(MethodError, match="patch must be pixels"):
        patches(given, (30, 40))  # type: ignore[arg-type]


# --- coarse to fine ---


def looking(values: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], list[int]]:
    """A function that looks at places of values (K, ny, nx), and the list of those it was asked for."""
    asked: list[int] = []

    def look(places: np.ndarray) -> np.ndarray:
        asked.extend(places.tolist())
        return values.reshape(len(values), -1)[:, places].T

    return look, asked


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1), st.integers(0, 3))
def test_what_was_seen_is_exact_and_within_the_budget(rows: int, columns: int, budget: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((2, rows, columns))
    look, asked = looking(values)
    found = refine((rows, columns), look, budget)
    assert found.values.shape == values.shape
    assert np.isfinite(found.values).all()
    assert len(asked) == len(set(asked)) == found.seen.sum()
    np.testing.assert_array_equal(found.seen.reshape(-1).nonzero()[0], sorted(asked))
    np.testing.assert_array_equal(found.values[:, found.seen], values[:, found.seen])
    assert len(asked) <= max(4, int(budget * rows * columns))
    assert (found.values <= values.max() + 1e-9).all()
    again = refine((rows, columns), looking(values)[0], budget)
    np.testing.assert_array_equal(again.values, found.values)


def test_a_plane_is_found_from_its_corners() -> None:
    """What is linear is interpolated exactly, wherever the places lie."""
    y, x = np.indices((23, 31))
    values = (2.0 * y - 0.5 * x + 3)[None]
    look, asked = looking(values)
    found = refine((23, 31), look, 0.1)
    assert len(asked) <= 71
    np.testing.assert_allclose(found.values, values, atol=1e-9)


def test_it_looks_where_the_values_differ() -> None:
    y, x = np.indices((40, 40))
    values = np.exp(-((y - 12) ** 2 + (x - 27) ** 2) / 30)[None]
    look, asked = looking(values)
    found = refine((40, 40), look, 0.15)
    near = (np.hypot(y - 12, x - 27) < 10).reshape(-1)
    assert near[asked].mean() > 1.5 * near.mean()
    assert np.corrcoef(found.values.reshape(-1), values.reshape(-1))[0, 1] > 0.97
    assert np.abs(found.values - values).max() < 0.35


def test_where_nothing_differs_nothing_is_refined() -> None:
    look, asked = looking(np.full((1, 33, 33), 2.5))
    found = refine((33, 33), look, 0.9)
    assert len(asked) < 0.3 * 33 * 33
    np.testing.assert_array_equal(found.values, 2.5)


def test_a_whole_budget_sees_everything() -> None:
    values = np.random.default_rng(0).standard_normal((1, 17, 12))
    found = refine((17, 12), looking(values)[0], 1.0)
    assert found.seen.all()
    np.testing.assert_array_equal(found.values, values)


def test_a_sample_of_places() -> None:
    unseen = np.random.default_rng(0).random((9, 9)) < 0.5
    places = np.flatnonzero(unseen)
    drawn = sample(unseen, 10, 3)
    assert len(set(drawn.tolist())) == 10
    assert set(drawn.tolist()) <= set(places.tolist())
    assert drawn.tolist() == sorted(drawn.tolist()) == sample(unseen, 10, 3).tolist()
    assert drawn.tolist() != sample(unseen, 10, 4).tolist()
    assert sample(unseen, 1000, 0).tolist() == places.tolist()
    assert len(sample(np.zeros((3, 3), bool), 5, 0)) == 0
