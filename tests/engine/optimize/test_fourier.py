"""Transforms at sides with large prime factors: which sides are enlarged, and the adjoint by the dot-product test."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.optimize.fourier import extended, painted_size, planes_of, spectrum_of, twice


@pytest.mark.parametrize("side", [1, 12, 31, 96, 128, 160, 208, 224, 299, 304, 512])
def test_fast_sides_stay(side: int) -> None:
    assert painted_size((side, 2 * side)) == (side, 2 * side)


@pytest.mark.parametrize(("side", "painted"), [(37, 38), (53, 54), (227, 228), (314, 315), (211, 216)])
def test_other_sides_grow_to_the_next_fast_one(side: int, painted: int) -> None:
    assert painted_size((side, 96)) == (painted, 96)
    assert painted_size((96, side)) == (96, painted)


@pytest.mark.parametrize("size", [(12, 10), (12, 9), (37, 10), (12, 41), (53, 37)])
def test_adjoint_by_dot_product(size: tuple[int, int]) -> None:
    """Imaginary parts of coefficients that are real do not count: a spectrum of a real picture has none."""
    rng = np.random.default_rng(0)
    painted = painted_size(size)
    spectrum = np.fft.rfft2(rng.standard_normal((2, 3, *painted)), norm="ortho")
    cotangents = rng.standard_normal((2, 3, *size)).astype(np.float32)
    ahead = (planes_of(spectrum.astype(np.complex64), size).astype(np.float64) * cotangents).sum()
    pulled = spectrum_of(cotangents).astype(np.complex128) * twice(painted[1])
    back = (pulled.real * spectrum.real + pulled.imag * spectrum.imag).sum()
    assert ahead == pytest.approx(back, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("size", [(12, 9), (37, 53)])
def test_planes_and_back(size: tuple[int, int]) -> None:
    planes = np.random.default_rng(1).standard_normal((3, *size)).astype(np.float32)
    longer = extended(planes)
    assert longer.shape == (3, *painted_size(size))
    assert (longer[:, -1, : size[1]] == planes[:, -1]).all()
    got = planes_of(np.fft.rfft2(longer, norm="ortho").astype(np.complex64), size)
    np.testing.assert_allclose(got, planes, atol=1e-5)
