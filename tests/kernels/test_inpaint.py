"""Hidden pixels against the sparse solution of the Laplace equation."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.inpaint import inpaint

RNG = np.random.default_rng(0)


def exact(picture: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Every hidden pixel the mean of its neighbours, as one system of equations."""
    sparse, solve = pytest.importorskip("scipy.sparse"), pytest.importorskip("scipy.sparse.linalg")
    height, width = hidden.shape
    number = np.full(hidden.shape, -1)
    number[hidden] = np.arange(hidden.sum())
    matrix, right = sparse.lil_matrix((hidden.sum(),) * 2), np.zeros((hidden.sum(), len(picture)))
    for y, x in zip(*np.nonzero(hidden), strict=True):
        row = number[y, x]
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        near = [(i, j) for i, j in near if 0 <= i < height and 0 <= j < width]
        matrix[row, row] = len(near)
        for i, j in near:
            if hidden[i, j]:
                matrix[row, number[i, j]] = -1
            else:
                right[row] += picture[:, i, j]
    result = picture.astype(np.float64)
    result[:, hidden] = np.atleast_2d(solve.spsolve(matrix.tocsc(), right).reshape(-1, len(picture)).T)
    return result


def smooth(*shape: int) -> np.ndarray:
    picture = np.cumsum(np.cumsum(RNG.standard_normal(shape), axis=1), axis=2)
    return (picture / np.ptp(picture)).astype(np.float32)


@pytest.mark.parametrize("kind", ["window", "corner", "two windows", "speckle", "ring", "nearly all"])
def test_hidden_pixels_solve_the_laplace_equation(kind: str) -> None:
    picture = smooth(3, 41, 53)
    hidden = np.zeros((41, 53), bool)
    if kind == "window":
        hidden[5:21, 10:29] = True
    elif kind == "corner":
        hidden[25:, 30:] = True
    elif kind == "two windows":
        hidden[3:15, 4:20] = hidden[10:30, 15:40] = True
    elif kind == "speckle":
        hidden = RNG.random((41, 53)) < 0.6
    elif kind == "ring":
        hidden[4:36, 6:48] = True
        hidden[15:25, 20:30] = False
    else:
        hidden[:] = True
        hidden[20, 20:24] = False
    got = inpaint(picture, hidden)
    assert got.dtype == np.float32
    assert np.array_equal(got[:, ~hidden], picture[:, ~hidden])
    span = float(np.ptp(picture[:, ~hidden], axis=1).max())
    # A few single pixels hold a whole picture only loosely: their influence spreads slowly.
    assert np.abs(got - exact(picture, hidden)).max() < span * (0.05 if kind == "nearly all" else 0.01)
    for channel, out in zip(picture, got, strict=True):
        assert channel[~hidden].min() - 1e-3 * span <= out.min()
        assert out.max() <= channel[~hidden].max() + 1e-3 * span


def test_what_was_hidden_does_not_matter() -> None:
    picture, hidden = smooth(2, 20, 30), np.zeros((20, 30), bool)
    hidden[4:12, 6:20] = True
    other = picture.copy()
    other[:, hidden] = RNG.standard_normal((2, hidden.sum())) * 100
    assert inpaint(picture, hidden).tobytes() == inpaint(other, hidden).tobytes()


def test_nothing_hidden_and_nothing_visible() -> None:
    picture = smooth(1, 6, 7)
    assert np.array_equal(inpaint(picture, np.zeros((6, 7), bool)), picture)
    assert not inpaint(picture, np.ones((6, 7), bool)).any()


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="bool"):
        inpaint(np.zeros((3, 4, 5)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="bool"):
        inpaint(np.zeros((4, 5)), np.zeros((4, 5), bool))
