"""What stands for "nothing"."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.baselines import NAMES, baseline, blurred
from onnxray.engine.explain import problem_of
from onnxray.engine.preprocess import find_card, prepare

RNG = np.random.default_rng(0)


def test_pixels_of_one_gray_are_what_the_card_makes_of_them(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn, size=16, mean=[120, 110, 100], std=[50, 60, 70], order="BGR", resize="stretch")
    image = RNG.integers(0, 256, (20, 20, 3), np.uint8)
    problem = problem_of(model, image)
    for kind, gray in (("black", 0), ("white", 255)):
        expected = prepare(np.full((20, 20, 3), gray, np.uint8), find_card(model)).tensor
        assert np.allclose(baseline(problem, kind), expected, atol=1e-6)
    assert not baseline(problem, "zero").any()
    assert (baseline(problem, 0.25) == 0.25).all()


def test_noise_is_seeded_and_within_range(cnn: onnx.ModelProto) -> None:
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    problem = problem_of(cnn, x)
    first = baseline(problem, "noise", 1)
    assert np.array_equal(first, baseline(problem, "noise", 1))
    assert not np.array_equal(first, baseline(problem, "noise", 2))
    assert np.allclose(first[1], baseline(problem_of(cnn, x[1:]), "noise", 1)[0])
    for row, own in zip(first, x, strict=True):
        assert own.min() <= row.min()
        assert row.max() <= own.max()
        assert np.ptp(row) > 0.9 * np.ptp(own)


def test_blur_is_a_gaussian_that_keeps_flat_areas() -> None:
    x = RNG.standard_normal((1, 2, 40, 48)).astype(np.float32)
    got = blurred(x, (2, 3), 2.0)
    for channel, out in zip(x[0], got[0], strict=True):
        expected = cv2.GaussianBlur(channel, (13, 13), 2.0, borderType=cv2.BORDER_REPLICATE)
        assert np.abs(out - expected).max() < 1e-5
    assert np.allclose(blurred(np.full((1, 9, 9, 3), 7, np.float32), (1, 2)), 7)
    assert blurred(np.full((1, 9, 9, 3), 7, np.uint8), (1, 2)).dtype == np.uint8


def test_arrays_are_broadcast_to_the_batch(cnn: onnx.ModelProto) -> None:
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    problem = problem_of(cnn, x)
    for shape in ((3, 16, 16), (1, 3, 16, 16), (2, 3, 16, 16)):
        given = RNG.standard_normal(shape)
        assert np.allclose(baseline(problem, given), np.broadcast_to(given, x.shape))
    with pytest.raises(onnxray.OnnxrayError, match=r"does not fit samples of shape \[3, 16, 16\]"):
        baseline(problem, np.ones((16, 16)))
    assert set(NAMES) == {"zero", "black", "gray", "white", "blur", "noise"}
