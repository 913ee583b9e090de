"""The tables judged in CIELAB (by OpenCV, not by the code that made them), and the look-up against its formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from onnxray.kernels import colormap
from onnxray.kernels.colormap import NAN_COLOUR, apply, names, table

SEQUENTIAL = ["lagoon", "ember", "gray"]


def lab(colours: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB colours uint8 (n, 3)."""
    return cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0].astype(np.float64)


def test_names():
    assert set(names()) == {*SEQUENTIAL, "polar"}
    assert colormap.SEQUENTIAL in names()
    assert colormap.DIVERGING in names()


@pytest.mark.parametrize("name", names())
def test_shape(name):
    colours = table(name)
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    assert not colours.flags.writeable
    assert table(name) is colours


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_sequential_lightness_is_linear(name):
    lightness = lab(table(name))[:, 0]
    line = np.linspace(lightness[0], lightness[-1], 256)
    # Colours are whole numbers: one level of one channel moves L* by up to 0.4.
    assert np.abs(lightness - line).max() < 0.5
    assert lightness[-1] - lightness[0] > 75
    assert np.diff(lightness[::2]).min() > 0


@pytest.mark.parametrize("name", ["lagoon", "ember"])
def test_steps_look_alike(name):
    """No step of 8 entries is more than 1.7 times as visible (CIE 1976 colour difference) as the average one."""
    steps = np.linalg.norm(np.diff(lab(table(name))[::8], axis=0), axis=1)
    assert steps.max() < 1.7 * steps.mean()
    assert steps.min() > 0.5 * steps.mean()


def test_diverging_is_symmetric():
    colours = lab(table("polar"))
    lightness, chroma = colours[:, 0], np.hypot(colours[:, 1], colours[:, 2])
    assert np.abs(lightness - lightness[::-1]).max() < 0.5
    assert np.diff(lightness[:128:2]).min() > 0
    half = np.linspace(lightness[0], lightness[127], 128)
    assert np.abs(lightness[:128] - half).max() < 1.0
    assert (table("polar")[127] == table("polar")[128]).all()
    assert chroma[127] < 0.5
    red, _, blue = table("polar")[0].astype(int)
    assert blue > red + 50
    red, _, blue = table("polar")[-1].astype(int)
    assert red > blue + 50


@pytest.mark.parametrize("name", names())
def test_inside_the_gamut(name):
    """Nothing was clipped: clipping would show as runs of 0 or 255 in one channel."""
    if name == "gray":
        return
    for channel in table(name).T:
        assert np.count_nonzero(channel == 0) <= 4
        assert np.count_nonzero(channel == 255) <= 4


def test_unknown_name():
    with pytest.raises(ValueError, match="no colour map named 'jet'; there are lagoon"):
        table("jet")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.uint8, bool])
def test_look_up(dtype):
    values = (np.random.default_rng(0).random((6, 5, 4)) * 200 - 20).clip(0).astype(dtype)
    got = apply(values, table("lagoon"), 10.0, 150.0)
    entry = np.floor(np.clip((values.astype(np.float64) - 10) / 140, 0, 1) * 255 + 0.5).astype(int)
    assert got.shape == (6, 5, 4, 3)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, table("lagoon")[entry])


def test_special_values():
    polar = table("polar")
    values = np.array([np.nan, -np.inf, np.inf, -1, 1, 0.0, -7, 7])
    expected = [NAN_COLOUR, *polar[[0, 255, 0, 255, 128, 0, 255]].tolist()]
    np.testing.assert_array_equal(apply(values, polar, -1, 1), expected)


def test_a_range_of_one_value_is_a_step():
    gray = table("gray")
    np.testing.assert_array_equal(apply([1, 2, 3], gray, 2, 2), gray[[0, 128, 255]])


def test_the_widest_range():
    gray = table("gray")
    most = np.finfo(np.float64).max
    np.testing.assert_array_equal(apply([-most, 0.0, most], gray, -most, most), gray[[0, 128, 255]])


def test_empty_and_scalar():
    assert apply(np.zeros((0, 4)), table("gray"), 0, 1).shape == (0, 4, 3)
    assert apply(0.0, table("gray"), 0, 1).shape == (3,)


def test_threads_change_nothing():
    values = np.random.default_rng(1).standard_normal((1500, 1400)).astype(np.float32)
    alone = apply(values, table("ember"), -1, 1, threads=1)
    np.testing.assert_array_equal(apply(values, table("ember"), -1, 1, threads=3), alone)


@pytest.mark.parametrize(
    ("values", "colours", "lo", "hi", "message"),
    [
        ([1j], table("gray"), 0, 1, "real numbers"),
        ([1.0], np.zeros((256, 3)), 0, 1, "uint8"),
        ([1.0], np.zeros((255, 3), np.uint8), 0, 1, r"\(256, 3\)"),
        ([1.0], table("gray"), 1, 0, "lo <= hi"),
        ([1.0], table("gray"), np.nan, 1, "finite"),
        ([1.0], table("gray"), 0, np.inf, "finite"),
    ],
)
def test_misuse(values, colours, lo, hi, message):
    with pytest.raises(ValueError, match=message):
        apply(values, colours, lo, hi)
