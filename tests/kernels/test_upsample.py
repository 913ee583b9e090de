"""upsample against the textbook in float64, and against OpenCV and PyTorch's definition where they agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from onnxray.kernels.upsample import MODES, taps, upsample


def textbook(map: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """One output value at a time, every weight from its formula, in float64."""

    def cubic(t: float, a: float = -0.75) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    def line(n: int, length: int) -> np.ndarray:
        matrix = np.zeros((length, n))
        for x in range(length):
            u = (x + 0.5) * n / length - 0.5
            low = int(np.floor(u))
            if mode == "nearest":
                matrix[x, (2 * x + 1) * n // (2 * length)] = 1
            elif mode == "bilinear":
                for i in (low, low + 1):
                    matrix[x, min(max(i, 0), n - 1)] += 1 - abs(u - i)
            else:
                for i in range(low - 1, low + 3):
                    matrix[x, min(max(i, 0), n - 1)] += cubic(u - i)
        return matrix

    return line(map.shape[0], size[0]) @ map.astype(np.float64) @ line(map.shape[1], size[1]).T


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((7, 7), (224, 224)),
        ((14, 14), (101, 333)),
        ((1, 1), (5, 4)),
        ((1, 9), (17, 9)),
        ((30, 20), (11, 7)),
        ((6, 6), (6, 6)),
    ],
)
def test_textbook(mode, shape, size):
    map = np.random.default_rng(0).standard_normal(shape)
    got = upsample(map, size, mode)
    assert got.dtype == np.float32
    assert got.shape == size
    np.testing.assert_allclose(got, textbook(map, size, mode), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("mode", "flag"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
def test_opencv(mode, flag):
    map = np.random.default_rng(1).standard_normal((13, 9)).astype(np.float32)
    judge = cv2.resize(map, (320, 240), interpolation=flag)
    np.testing.assert_allclose(upsample(map, (240, 320), mode), judge, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_stack_is_its_maps(mode):
    maps = np.random.default_rng(2).standard_normal((3, 5, 6))
    got = upsample(maps, (40, 31), mode)
    assert got.shape == (3, 40, 31)
    for one, alone in zip(got, maps, strict=True):
        np.testing.assert_array_equal(one, upsample(alone, (40, 31), mode))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.int32, bool, ">f4"])
def test_any_real_dtype(dtype):
    map = (np.random.default_rng(3).random((4, 4)) * 2).astype(dtype)
    np.testing.assert_array_equal(upsample(map, (9, 9)), upsample(map.astype(np.float32), (9, 9)))


def test_views_and_lists():
    map = np.random.default_rng(4).standard_normal((8, 6)).astype(np.float32)
    np.testing.assert_array_equal(upsample(map[::-2, ::3].T, (9, 9)), upsample(map[::-2, ::3].T.copy(), (9, 9)))
    np.testing.assert_array_equal(upsample([[1, 2], [3, 4]], (2, 2)), np.float32([[1, 2], [3, 4]]))


@pytest.mark.parametrize("mode", MODES)
def test_threads_change_nothing(mode):
    maps = np.random.default_rng(5).standard_normal((3, 20, 30))
    alone = upsample(maps, (700, 900), mode, threads=1)
    np.testing.assert_array_equal(upsample(maps, (700, 900), mode, threads=5), alone)


def test_nan_stays_where_it_reaches():
    map = np.zeros((4, 4))
    map[0, 0] = np.nan
    missing = np.isnan(upsample(map, (16, 16), "bilinear"))
    # Output pixels up to 1.5 input pixels from the corner look at it.
    np.testing.assert_array_equal(missing, np.logical_and.outer(np.arange(16) < 6, np.arange(16) < 6))


@pytest.mark.parametrize("mode", MODES)
def test_weights_sum_to_one(mode):
    index, weight = taps(7, 1080, mode)
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=1e-6)
    assert index.min() == 0
    assert index.max() == 6
    assert not index.flags.writeable
    assert not weight.flags.writeable


@pytest.mark.parametrize(
    ("map", "size", "mode", "message"),
    [
        (np.zeros(3), (4, 4), "bilinear", r"shape \(h, w\)"),
        (np.zeros((0, 3)), (4, 4), "bilinear", "not be empty"),
        (np.zeros((2, 2), complex), (4, 4), "bilinear", "real numbers"),
        (np.zeros((2, 2)), (4, 0), "bilinear", "positive integers"),
        (np.zeros((2, 2)), (4,), "bilinear", "positive integers"),
        (np.zeros((2, 2)), (4, 4), "cubic", "nearest, bilinear, bicubic"),
    ],
)
def test_misuse(map, size, mode, message):
    with pytest.raises(ValueError, match=message):
        upsample(map, size, mode)
