"""The sum of Gaussian blurs against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from onnxray.kernels.gradients import blurs, gaussian


def judge(planes: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    total = np.zeros(planes.shape)
    for sigma in sigmas:
        weights = np.exp(-0.5 * (np.arange(-np.ceil(3 * sigma), np.ceil(3 * sigma) + 1) / sigma) ** 2)
        weights /= weights.sum()
        blurred = correlate1d(planes.astype(np.float64), weights, axis=1, mode="mirror")
        total += correlate1d(blurred, weights, axis=2, mode="mirror")
    return total


@pytest.mark.parametrize("shape", [(3, 40, 51), (1, 7, 5), (2, 1, 9), (1, 3, 1), (1, 1, 1), (1, 300, 400)])
@pytest.mark.parametrize("sigmas", [(1.0,), (0.8, 1.6, 3.2)])
def test_equals_scipy(shape: tuple[int, ...], sigmas: tuple[float, ...]) -> None:
    planes = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for threads in (1, None):
        np.testing.assert_allclose(blurs(planes, sigmas, threads=threads), judge(planes, sigmas), atol=2e-6)


def test_weights_sum_to_one() -> None:
    for sigma in (0.1, 0.8, 3.2):
        weights = gaussian(sigma)
        assert weights.sum() == pytest.approx(1, abs=1e-6)
        assert weights.size % 2 == 1


def test_without_a_blur_a_copy() -> None:
    planes = np.ones((1, 2, 2), np.float32)
    same = blurs(planes, ())
    assert (same == planes).all()
    assert same is not planes


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="shape .C, H, W."):
        blurs(np.ones((2, 2), np.float32), (1.0,))
    with pytest.raises(ValueError, match="positive"):
        blurs(np.ones((1, 2, 2), np.float32), (0.0,))
