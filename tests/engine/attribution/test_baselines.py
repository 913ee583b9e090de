"""What stands for "nothing"."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import onnxray
from onnxray.engine.attribution.baselines import FILLS, NAMES, baseline, blurred, inpainted
from onnxray.engine.explain import problem_of
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare

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
    channels = baseline(problem, np.array([1.0, 2.0, 3.0]))
    assert (channels == np.array([1, 2, 3]).reshape(1, 3, 1, 1)).all()
    for wrong in (np.ones((16, 16)), np.ones(4), np.array(["a"])):
        with pytest.raises(onnxray.OnnxrayError, match=r"does not fit samples of shape \[3, 16, 16\].*3 channels"):
            baseline(problem, wrong)
    of_texts = {"pad", "mask", "unk", "text:WORDS"}
    assert set(NAMES) == {"zero", "black", "gray", "white", "mean", "blur", "noise", *of_texts}
    assert set(FILLS) - set(NAMES) == {"inpaint", "interpolate", "drop", "#rrggbb"}


def test_the_mean_colour_is_that_of_each_image(cnn: onnx.ModelProto) -> None:
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    got = baseline(problem_of(cnn, x), "mean")
    assert got.shape == x.shape
    assert np.allclose(got[..., 0, 0], x.astype(np.float64).mean(axis=(2, 3)), atol=1e-6)
    assert (np.ptp(got, axis=(2, 3)) == 0).all()


@pytest.mark.parametrize("order", ["RGB", "BGR", "GRAY"])
def test_a_colour_is_what_the_card_makes_of_it(parse: Any, order: str) -> None:
    channels = 1 if order == "GRAY" else 3
    text = (
        f"m (float[N, {channels}, 8, 8] x) => (float[N, {channels}] y) {{ g = GlobalAveragePool (x) y = Flatten (g) }}"
    )
    model = onnxray.load(parse(text), size=8, mean=[120, 110, 100][:channels], std=[50, 60, 70][:channels], order=order)
    problem = problem_of(model, RNG.integers(0, 256, (20, 20, 3), np.uint8))
    expected = prepare(np.full((20, 20, 3), (255, 128, 10), np.uint8), find_card(model)).tensor
    assert np.allclose(baseline(problem, "#ff800A"), expected, atol=1 / 50)
    with pytest.raises(onnxray.OnnxrayError, match="#rrggbb"):
        baseline(problem, "#ff80")


def test_what_needs_an_image_or_a_card_says_so(cnn: onnx.ModelProto, parse: Any) -> None:
    problem = problem_of(parse("m (float[N, 4] x) => (float[N, 4] y) { y = Neg (x) }"), np.ones((1, 4), np.float32))
    for kind in ("mean", "blur", "black", "#000000"):
        with pytest.raises(onnxray.OnnxrayError, match="use 'zero', a number or an array"):
            baseline(problem, kind)
    with pytest.raises(onnxray.OnnxrayError, match="depends on what is hidden"):
        baseline(problem_of(cnn, np.ones((1, 3, 16, 16), np.float32)), "inpaint")
    with pytest.raises(onnxray.OnnxrayError, match="model card"):
        baseline(problem_of(cnn, np.ones((1, 3, 16, 16), np.float32)), "#102030")


@pytest.mark.parametrize("channels_last", [False, True])
def test_inpainting_takes_the_surroundings_in_either_layout(channels_last: bool) -> None:
    ramp = np.linspace(0, 1, 12, dtype=np.float32)
    sample = np.stack([np.broadcast_to(ramp, (10, 12)), np.broadcast_to(2 - ramp, (10, 12))])
    hidden = np.zeros((2, 10, 12), bool)
    hidden[0, 3:7, 4:9], hidden[1] = True, True
    given = np.moveaxis(sample, 0, 2) if channels_last else sample
    got = inpainted(given, (0, 1) if channels_last else (1, 2), hidden)
    got = np.moveaxis(got, 3, 1) if channels_last else got
    assert np.abs(got[0] - sample).max() < 3e-3  # a ramp is harmonic: it continues through the hole
    assert np.array_equal(got[0][:, ~hidden[0]], sample[:, ~hidden[0]])
    assert np.allclose(got[1], sample.mean(axis=(1, 2), keepdims=True), atol=1e-6)
    whole = inpainted(np.rint(given * 100).astype(np.uint8), (0, 1) if channels_last else (1, 2), hidden)
    assert whole.dtype == np.uint8
