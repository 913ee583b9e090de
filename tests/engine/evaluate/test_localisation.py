"""The pointing game and the energy in a mask: against their definitions, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

import onnxray
from onnxray import models
from onnxray.engine.errors import ShapeError
from onnxray.engine.evaluate.localisation import energy, energy_in_mask, pointing_game
from onnxray.models.surface import render

RNG = np.random.default_rng(2)


def distance(mask: np.ndarray, y: int, x: int) -> float:
    """From a pixel to the nearest one of the mask."""
    return float(min(np.hypot(y - r, x - c) for r, c in np.argwhere(mask)))


@pytest.mark.parametrize("tolerance", [0, 0.5, 1, 1.5, 2, 3.7, 15, 40])
def test_a_hit_is_a_peak_within_the_tolerance(tolerance: float) -> None:
    mask = RNG.random((17, 23)) < 0.01
    mask[4, 19] = True
    for y, x in RNG.integers((17, 23), size=(40, 2)):
        heat = RNG.random(mask.shape) - 5
        heat[y, x] = 2
        assert pointing_game(heat, mask, tolerance) == (distance(mask, y, x) <= tolerance)


def test_equally_hot_pixels_share_the_hit() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:3] = True
    assert pointing_game(np.zeros((10, 10)), mask) == pytest.approx(0.3)
    heat = np.zeros((10, 10))
    heat[2, 4] = heat[7, 4] = 1
    assert pointing_game(heat, mask) == 0.5
    assert pointing_game(heat, mask, 5) == 1
    assert pointing_game(heat, mask, 4.99) == 0.5


def test_energy_is_the_part_of_the_positive_heat() -> None:
    heat = np.array([[1.0, -9.0, 2.0], [0.0, 3.0, -1.0]])
    mask = np.array([[1, 1, 0], [0, 0, 1]])
    assert energy_in_mask(heat, mask) == pytest.approx(1 / 6)
    assert energy_in_mask(7 * heat, mask) == pytest.approx(1 / 6)
    assert energy_in_mask(heat, np.ones((2, 3))) == 1
    assert energy_in_mask(-np.ones((2, 3)), mask) == 0


def test_what_does_not_fit_is_refused() -> None:
    mask = np.ones((4, 5), bool)
    for function in (pointing_game, energy_in_mask):
        with pytest.raises(ShapeError, match=r"\[5, 4\] and a mask of shape \[4, 5\]"):
            function(np.zeros((5, 4)), mask)
        with pytest.raises(ShapeError, match="mask is empty"):
            function(np.zeros((4, 5)), ~mask)
        with pytest.raises(ShapeError, match="not finite"):
            function(np.full((4, 5), np.nan), mask)
    with pytest.raises(ShapeError, match="tolerance of -1"):
        pointing_game(np.zeros((4, 5)), mask, -1)


def test_the_sign_counts_only_where_it_says_something() -> None:
    image = render(3_000_000, "crack").image
    cam = onnxray.explain(models.path("builtin"), image, "grad-cam")
    slope = onnxray.explain(models.path("builtin"), image, "gradient")
    assert np.array_equal(energy(cam), np.maximum(cam.heatmap, 0))
    assert np.array_equal(energy(slope), np.abs(slope.heatmap))


def test_grad_cam_points_at_the_defects_of_the_built_in_model() -> None:
    """A few of the images of `bench/localisation.py`."""
    hits = []
    for number, label in enumerate(("crack", "pit", "spatter", "dent", "chip", "stain")):
        sample = render(3_100_000 + number, label)
        e = onnxray.explain(models.path("builtin"), sample.image, "grad-cam", label)
        hits.append(pointing_game(energy(e), sample.mask, 15))
    assert np.mean(hits) > 0.8
