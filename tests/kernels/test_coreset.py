"""Greedy k-center against the textbook's loops, nearest rows against float64 brute force."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.coreset import farthest_points
from onnxray.kernels.neighbours import nearest

RNG = np.random.default_rng(5)


def textbook(points: np.ndarray, count: int) -> list[int]:
    """T. Gonzalez, 1985, with all distances in a table of float64; starts at the point nearest to the mean."""
    exact = points.astype(np.float64)
    table = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=2))
    chosen = [int(((exact - exact.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    while len(chosen) < count:
        chosen.append(int(table[:, chosen].min(axis=1).argmax()))
    return chosen


@pytest.mark.parametrize(("n", "d", "count"), [(60, 3, 12), (200, 40, 50), (5, 1, 5)])
def test_points_are_the_textbooks(n: int, d: int, count: int) -> None:
    points = RNG.standard_normal((n, d)).astype(np.float32)
    assert farthest_points(points, count).tolist() == textbook(points, count)


def test_no_choice_covers_twice_as_well() -> None:
    """Gonzalez' bound: with the count-th point left out, the chosen ones are at least as far apart as the radius."""
    points = RNG.standard_normal((300, 6)).astype(np.float32)
    chosen = farthest_points(points, 20)
    radius = nearest(points, points[chosen])[0].max()
    apart = [nearest(points[chosen[:i]], points[chosen[i : i + 1]])[0].min() for i in range(1, 20)]
    assert min(apart) >= radius


def test_threads_do_not_matter() -> None:
    points = RNG.standard_normal((70000, 8)).astype(np.float32)
    assert farthest_points(points, 30, threads=1).tolist() == farthest_points(points, 30, threads=3).tolist()


def test_equal_points_are_taken_once() -> None:
    points = np.repeat(np.array([[0.0, 1.0], [2.0, 3.0]], np.float32), 4, axis=0)
    assert sorted(farthest_points(points, 6).tolist()) == [0, 4]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_what_are_no_points_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="points must have shape"):
        farthest_points(np.zeros(shape, np.float32), 2)
    with pytest.raises(ValueError, match="count must be at least 1"):
        farthest_points(np.zeros((2, 2), np.float32), 0)


@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_nearest_rows_are_those_of_brute_force(offset: float) -> None:
    points = (RNG.standard_normal((500, 24)) + offset).astype(np.float32)
    rows = (RNG.standard_normal((90, 24)) + offset).astype(np.float32)
    table = np.sqrt(((points[:, None].astype(np.float64) - rows[None]) ** 2).sum(axis=2))
    found, which = nearest(points, rows)
    assert np.abs(found / table.min(axis=1) - 1).max() < 3e-7
    assert (which == table.argmin(axis=1)).all()


def test_a_row_is_its_own_neighbour() -> None:
    rows = RNG.standard_normal((50, 9)).astype(np.float32) * 100
    found, which = nearest(rows, rows)
    assert not found.any()
    assert which.tolist() == list(range(50))


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="are not"):
        nearest(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="are not"):
        nearest(np.zeros((3, 2)), np.zeros((0, 2)))
