"""render against its definition in float64: upsample, normalise, colour, blend, each the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from onnxray.kernels.colormap import table
from onnxray.kernels.render import render
from onnxray.tests.kernels.test_upsample import textbook

MODES = ["nearest", "bilinear", "bicubic"]
NOISY = np.random.default_rng(9).integers(0, 256, (256, 3), dtype=np.uint8)  # a table with steps as high as they come


def photo(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def reference(map, image, colours, lo, hi, alpha, mode, by_value=False):
    """Before the last rounding, float64."""
    v = textbook(np.asarray(map, np.float64), image.shape[:2], mode)
    p = np.clip((v - lo) / (hi - lo), 0, 1) * 255
    c = np.stack([np.interp(p, np.arange(256), colours[:, i].astype(np.float64)) for i in range(3)], axis=-1)
    a = (alpha * p / 255 if by_value else np.full_like(p, alpha))[..., None]
    return image * (1 - a) + c * a


def assert_within_one_level(got, exact):
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - np.floor(exact + 0.5)).max() <= 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.37, 1.0])
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((7, 7), (224, 224)),
        ((14, 14), (61, 333)),
        ((1, 1), (5, 3)),
        ((3, 5), (1, 1)),
        ((40, 60), (33, 17)),
        ((5, 3), (7, 2100)),
    ],
)
def test_definition(mode, alpha, shape, size):
    rng = np.random.default_rng(1)
    map, image = rng.standard_normal(shape), photo(*size)
    for colours in (table("lagoon"), table("polar")):
        got = render(map, image, colours, -1.5, 2.0, alpha, mode)
        exact = reference(map, image, colours, -1.5, 2.0, alpha, mode)
        assert_within_one_level(got, exact)
        if image.size > 10_000 and mode != "nearest":
            # The tables are smooth: on average, hardly more than rounding (a quarter of a level) is left.
            assert np.abs(got - exact).mean() < 0.27


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_any_table(mode, alpha):
    """Neighbouring colours 255 levels apart: the refinement of the table must follow."""
    map, image = np.random.default_rng(2).random((6, 6)), photo(90, 121)
    got = render(map, image, NOISY, 0.0, 1.0, alpha, mode)
    assert_within_one_level(got, reference(map, image, NOISY, 0.0, 1.0, alpha, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_alpha_by_value(mode, alpha):
    map, image = np.random.default_rng(3).random((9, 4)), photo(70, 51)
    for colours in (table("ember"), NOISY):
        got = render(map, image, colours, 0.2, 0.9, alpha, mode, alpha_by_value=True)
        assert_within_one_level(got, reference(map, image, colours, 0.2, 0.9, alpha, mode, by_value=True))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_ranges_of_any_size(scale, offset):
    map = (np.random.default_rng(4).random((7, 7)) + offset) * scale
    image = photo(64, 64)
    lo, hi = map.min(), map.max()
    got = render(map, image, table("lagoon"), lo, hi, 0.5)
    assert_within_one_level(got, reference(map, image, table("lagoon"), lo, hi, 0.5, "bilinear"))


def test_outliers():
    """A value a thousand times the range beyond it: between it and its neighbours the crossing lies where it should."""
    map = np.random.default_rng(5).random((7, 7))
    map[3, 3] = 1000.0
    image = photo(224, 224)
    got = render(map, image, table("gray"), 0.0, 1.0, 0.5)
    assert_within_one_level(got, reference(map, image, table("gray"), 0.0, 1.0, 0.5, "bilinear"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8, bool])
def test_any_real_dtype(dtype):
    map = (np.random.default_rng(6).random((5, 5)) * 3).astype(dtype)
    image = photo(31, 31)
    expected = render(map.astype(np.float64), image, table("gray"), 0, 3)
    np.testing.assert_array_equal(render(map, image, table("gray"), 0, 3), expected)


@pytest.mark.parametrize("alpha_by_value", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_nan_lets_the_image_through(mode, alpha_by_value):
    map = np.random.default_rng(7).random((8, 8))
    filled = map.copy()
    map[2, 5] = np.nan
    filled[2, 5] = 0.5
    image = photo(64, 99)
    got = render(map, image, table("lagoon"), 0, 1, 0.5, mode, alpha_by_value=alpha_by_value)
    missing = textbook(np.isnan(map).astype(float), (64, 99), mode) != 0
    assert 0 < missing.sum() < missing.size
    np.testing.assert_array_equal(got[missing], image[missing])
    whole = render(filled, image, table("lagoon"), 0, 1, 0.5, mode, alpha_by_value=alpha_by_value)
    np.testing.assert_array_equal(got[~missing], whole[~missing])


def test_nothing_but_nan():
    image = photo(20, 30)
    np.testing.assert_array_equal(render(np.full((3, 3), np.nan), image, table("gray"), 0, 1, 1.0), image)


def test_infinities_are_the_ends_of_the_range():
    map = np.array([[np.inf, -np.inf], [0.3, 0.6]])
    image = photo(20, 30)
    expected = render(np.array([[1.0, 0.0], [0.3, 0.6]]), image, table("ember"), 0, 1)
    np.testing.assert_array_equal(render(map, image, table("ember"), 0, 1), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sign", [1, -1])
def test_finite_values_beyond_all_bounds(mode, sign):
    """Nothing overflows: around such a value there are only the table's two ends (cubic weights turn the sign)."""
    image = photo(20, 30)
    got = render(np.array([[sign * 1e300, sign * 1e300, 0.5]]), image, table("ember"), 0, 1e-3, 1.0, mode)
    assert (got[:, :12] == table("ember")[255 if sign > 0 else 0]).all()
    ends = (got == table("ember")[0]).all(axis=2) | (got == table("ember")[255]).all(axis=2)
    assert ends.all()


def test_a_range_of_one_value_is_a_step():
    image = photo(3, 30)
    got = render([[1.0, 2.0, 3.0]], image, table("polar"), 2, 2, 1.0, "nearest")
    assert (got[:, :10] == table("polar")[0]).all()
    assert (got[:, 10:20] == table("polar")[128]).all()
    assert (got[:, 20:] == table("polar")[255]).all()


def test_zero_is_neutral():
    """The centre of the diverging table at the centre of a symmetric range, exactly."""
    image = photo(16, 16)
    got = render(np.zeros((4, 4)), image, table("polar"), -2.5, 2.5, 1.0, "bicubic")
    assert (got == table("polar")[128]).all()


def test_alpha_0_is_the_image():
    image = photo(50, 41)
    np.testing.assert_array_equal(render(np.eye(3), image, table("ember"), 0, 1, 0.0), image)


@pytest.mark.parametrize("width", [1, 15, 16, 17, 63, 64, 65, 1000, 2047, 2049, 5000])
@pytest.mark.parametrize("mode", MODES)
def test_every_width(mode, width):
    """Vector steps, row groups and remainders meet without a seam."""
    map, image = np.random.default_rng(8).random((4, 6)), photo(37, width)
    got = render(map, image, table("lagoon"), 0, 1, 0.45, mode)
    assert_within_one_level(got, reference(map, image, table("lagoon"), 0, 1, 0.45, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("alpha_by_value", [False, True])
def test_threads_change_nothing(mode, alpha_by_value):
    map, image = np.random.default_rng(10).random((14, 14)), photo(1080, 1920)
    options = {"mode": mode, "alpha_by_value": alpha_by_value}
    alone = render(map, image, table("lagoon"), 0, 1, threads=1, **options)
    for threads in (2, 5, None):
        np.testing.assert_array_equal(render(map, image, table("lagoon"), 0, 1, threads=threads, **options), alone)


def test_out():
    map, image = np.random.default_rng(11).random((7, 7)), photo(80, 90)
    expected = render(map, image, table("lagoon"), 0, 1)
    out = np.zeros_like(image)
    assert render(map, image, table("lagoon"), 0, 1, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert render(map, image, table("lagoon"), 0, 1, out=image) is image
    np.testing.assert_array_equal(image, expected)


def test_views_and_read_only_images():
    map, image = np.random.default_rng(12).random((9, 9)), photo(80, 90)
    view = image[::2, ::-1, ::-1]
    image.setflags(write=False)
    expected = render(map[::2, 1::3].copy(), view.copy(), table("lagoon"), 0, 1)
    np.testing.assert_array_equal(render(map[::2, 1::3], view, table("lagoon"), 0, 1), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"map": np.zeros(3)}, r"a map must have shape \(h, w\)"),
        ({"map": np.zeros((0, 3))}, "not be empty"),
        ({"map": np.zeros((2, 2), complex)}, "real numbers"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"uint8 \(H, W, 3\)"),
        ({"image": np.zeros((4, 4, 3))}, r"uint8 \(H, W, 3\)"),
        ({"image": np.zeros((4, 0, 3), np.uint8)}, "not be empty"),
        ({"table": np.zeros((256, 4), np.uint8)}, r"\(256, 3\)"),
        ({"lo": 2}, "lo <= hi"),
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"alpha": float("nan")}, "between 0 and 1"),
        ({"mode": "cubic"}, "nearest, bilinear, bicubic"),
        ({"threads": 0}, "at least 1"),
        ({"out": np.zeros((4, 5, 3), np.uint8)}, "out must be"),
        ({"out": np.zeros((4, 4, 3), np.float32)}, "out must be"),
        ({"out": np.zeros((8, 8, 3), np.uint8)[::2, ::2]}, "C-contiguous"),
    ],
)
def test_misuse(change, message):
    call = {"map": np.eye(2), "image": np.zeros((4, 4, 3), np.uint8), "table": table("gray"), "lo": 0, "hi": 1} | change
    with pytest.raises(ValueError, match=message):
        render(**call)
