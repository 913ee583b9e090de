"""Upsampling along any number of axes, against SciPy and the kernel for two."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from onnxray.kernels.upsample import upsample, upsample_along

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("shape", "sizes"), [((5,), (40,)), ((3, 4, 5), (9, 16, 35)), ((2, 3, 3), (2, 30, 12))])
def test_it_is_what_scipy_does(shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    given = RNG.standard_normal(shape).astype(np.float32)
    zoom = [size / n for size, n in zip(sizes, shape, strict=True)]
    due = ndimage.zoom(given, zoom, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(upsample_along(given, sizes), due, atol=1e-5)


def test_of_two_axes_it_is_the_kernel_and_those_before_stay() -> None:
    given = RNG.standard_normal((3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(upsample_along(given, (11, 17)), upsample(given, (11, 17)), atol=1e-6)
    ends = upsample_along(given, (40, 50))
    assert not np.array_equal(ends[:, 19], ends[:, 20])  # neighbouring slices differ: nothing is repeated


def test_what_cannot_be_done() -> None:
    for shape, sizes in [((3,), (4, 5)), ((0, 3), (4,)), ((3,), (0,))]:
        with pytest.raises(ValueError, match="cannot be brought"):
            upsample_along(np.zeros(shape, np.float32), sizes)
