"""Every regulariser: its gradient by central differences, and 0 for a plain gray picture."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.engine.optimize.regulariser import REGULARISERS


@pytest.mark.parametrize("name", REGULARISERS.all())
def test_gradient_by_central_differences(name: str) -> None:
    part = REGULARISERS.make(f"{name}:3")
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 1, (2, 3, 9, 12)).astype(np.float32)
    pictures[np.abs(pictures - 0.5) < 0.02] = 0.6  # where l1 has no slope
    direction = rng.standard_normal(pictures.shape).astype(np.float32)
    step = np.float32(1e-3)
    penalty, gradient = part.penalty(pictures)
    ahead, behind = (part.penalty(pictures + sign * step * direction)[0] for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    np.testing.assert_allclose((gradient * direction).sum(axis=(1, 2, 3)), slope, rtol=0.02, atol=1e-3)
    assert (penalty > 0).all()
    twice, _ = REGULARISERS.make(f"{name}:6").penalty(pictures)
    np.testing.assert_allclose(twice, 2 * penalty, rtol=1e-5)


@pytest.mark.parametrize("name", REGULARISERS.all())
def test_gray_costs_nothing(name: str) -> None:
    penalty, gradient = REGULARISERS.make(name).penalty(np.full((1, 3, 8, 8), 0.5, np.float32))
    assert penalty == pytest.approx(0, abs=1e-9)
    assert np.abs(gradient).max() < 1e-7
