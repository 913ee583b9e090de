"""Colours and their adjoint against NumPy and central differences; Adam and NAdam against their papers in float64."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.ascent import adam, colours, uncolour


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_colours(channels: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, channels, 7, 6)).astype(np.float32)
    matrix = rng.standard_normal((channels, channels))
    wanted = sigmoid(np.einsum("ck,nkhw->nchw", matrix, values.astype(np.float64)))
    got = colours(values, matrix)
    assert got.dtype == np.float32
    assert np.abs(got - wanted).max() < 1e-6


def test_colours_near_black_and_white() -> None:
    values = np.linspace(-80, 80, 4001).astype(np.float32).reshape(1, 1, 1, -1)
    got, wanted = colours(values, np.eye(1)), sigmoid(values.astype(np.float64))
    assert np.abs(got / wanted - 1).max() < 1e-6


def test_the_adjoint_by_central_differences() -> None:
    rng = np.random.default_rng(1)
    values, matrix = rng.standard_normal((1, 3, 4, 5)), rng.standard_normal((3, 3))
    cotangents, direction = rng.standard_normal((2, 1, 3, 4, 5))

    def made(x: np.ndarray) -> np.ndarray:
        return sigmoid(np.einsum("ck,nkhw->nchw", matrix, x))

    slope = ((made(values + 1e-5 * direction) - made(values - 1e-5 * direction)) / 2e-5 * cotangents).sum()
    back = uncolour(cotangents.astype(np.float32), made(values).astype(np.float32), matrix)
    assert (back * direction).sum() == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_as_in_the_papers(nesterov: bool) -> None:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((3, 4)).astype(np.float32)
    mean, square = np.zeros_like(values), np.zeros_like(values)
    x, m, v = values.astype(np.float64), np.zeros((3, 4)), np.zeros((3, 4))
    for step in range(1, 8):
        gradient = rng.standard_normal((3, 4)).astype(np.float32)
        adam(values, gradient, mean, square, step, 0.05, betas=(0.9, 0.99), nesterov=nesterov)
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient.astype(np.float64) ** 2
        if nesterov:
            ahead = 0.9 * m / (1 - 0.9 ** (step + 1)) + 0.1 * gradient / (1 - 0.9**step)
        else:
            ahead = m / (1 - 0.9**step)
        x += 0.05 * ahead / (np.sqrt(v / (1 - 0.99**step)) + 1e-8)
        assert np.abs(values - x).max() < 1e-5


def test_other_arrays_are_refused() -> None:
    values = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="of one shape"):
        adam(values, np.zeros((3, 2), np.float32), values, values, 1, 0.1)
    with pytest.raises(ValueError, match="do not fit"):
        colours(np.zeros((1, 3, 2, 2)), np.eye(2))
    with pytest.raises(ValueError, match="do not fit"):
        uncolour(np.zeros((1, 3, 2, 2)), np.zeros((1, 3, 2, 3), np.float32), np.eye(3))
