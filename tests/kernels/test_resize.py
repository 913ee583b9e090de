"""resize judged by Pillow (with antialias) and by OpenCV (without, and for "area")."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

import onnxray.kernels.resize as resize_module
from onnxray.kernels.resize import FILTERS, Filter, resize

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
SIZES = [
    ((301, 403), (97, 64)),
    ((50, 70), (224, 224)),
    ((40, 40), (40, 80)),
    ((40, 40), (80, 40)),
    ((33, 35), (33, 35)),
    ((999, 700), (14, 8)),
    ((5, 7), (1, 1)),
    ((1, 1), (9, 5)),
    ((2, 300), (32, 3)),
]


def photo(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_pillow(image: np.ndarray, size: tuple[int, int], filter: str, region=None) -> np.ndarray:
    box = None if region is None else (region[1], region[0], region[3], region[2])
    return np.asarray(Image.fromarray(image).resize(size[::-1], PILLOW[filter], box=box))


@pytest.fixture(params=["compiled", "NumPy"])
def either_way(request, monkeypatch):
    """Both implementations: of small work in a process that has not loaded Numba, and of all other."""
    monkeypatch.setattr("onnxray.kernels.resize.is_little", lambda work: request.param == "NumPy")


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("filter", PILLOW)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_pillow_bytes(filter, shape, size):
    """Not only within one grey level: the same bytes."""
    colour = photo(*shape, 3)
    np.testing.assert_array_equal(resize(colour, size, filter), by_pillow(colour, size, filter))
    gray = photo(*shape)
    np.testing.assert_array_equal(resize(gray, size, filter), by_pillow(gray, size, filter))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("filter", PILLOW)
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_pillow_floats(filter, shape, size):
    image = photo(*shape).astype(np.float32) / np.float32(7)
    got = resize(image, size, filter)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, by_pillow(image, size, filter), rtol=0, atol=2e-5)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos", "box"])
@pytest.mark.parametrize(
    "region", [(30.25, 20.5, 250.75, 390.125), (0, 0, 150, 403), (100, 7, 101, 8), (3, 3, 301, 403)]
)
def test_region(filter, region):
    image = photo(301, 403, 3)
    got = resize(image, (64, 48), filter, region=region)
    judge = by_pillow(image, (64, 48), filter, region)
    assert np.abs(got.astype(int) - judge).max() <= 1


def test_whole_region_is_a_crop_for_nearest():
    image = photo(60, 80, 3)
    np.testing.assert_array_equal(
        resize(image, (20, 21), "nearest", region=(10, 5, 50, 75)), resize(image[10:50, 5:75], (20, 21), "nearest")
    )
    got = resize(image, (9, 9), "nearest", region=(10.5, 5.25, 20.5, 15.25))
    np.testing.assert_array_equal(got, by_pillow(image, (9, 9), "nearest", (10.5, 5.25, 20.5, 15.25)))


@pytest.mark.parametrize(("filter", "flag"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_opencv_without_antialias(filter, flag, shape, size):
    image = photo(*shape, 3).astype(np.float32)
    judge = cv2.resize(image, size[::-1], interpolation=flag)
    np.testing.assert_allclose(resize(image, size, filter, antialias=False), judge, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("shape", "size"), [((301, 403), (97, 64)), ((64, 64), (16, 32)), ((100, 10), (99, 9))])
def test_area_is_opencv_s(shape, size):
    image = photo(*shape, 3)
    judge = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resize(image.astype(np.float32), size, "area"), judge, rtol=0, atol=1e-3)
    # Rounded after either pass: half a level each.
    assert np.abs(resize(image, size, "area") - judge).max() <= 1.01


def test_area_keeps_the_mean():
    image = photo(37, 53).astype(np.float32)
    for size in ((5, 7), (36, 52), (80, 90)):
        assert resize(image, size, "area").mean() == pytest.approx(image.mean(), rel=1e-5)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("value", [0, 1, 77, 255])
def test_a_constant_stays_constant(filter, antialias, value):
    image = np.full((37, 23, 3), value, np.uint8)
    for size in ((5, 50), (50, 5), (224, 224)):
        assert (resize(image, size, filter, antialias=antialias) == value).all()


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("filter", FILTERS)
def test_channels_are_independent(filter):
    image = photo(30, 40, 5)
    got = resize(image, (11, 60), filter)
    for c in range(5):
        np.testing.assert_array_equal(got[..., c], resize(np.ascontiguousarray(image[..., c]), (11, 60), filter))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("filter", ["bicubic", "area"])
def test_threads_change_nothing(filter, dtype):
    image = photo(900, 1200, 3).astype(dtype)
    alone = resize(image, (500, 700), filter, threads=1)
    np.testing.assert_array_equal(resize(image, (500, 700), filter, threads=4), alone)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(301, 403, 3), (7, 7)])
def test_the_bytes_are_the_same_without_numba(filter, antialias, dtype, shape, monkeypatch):
    image, results = photo(*shape).astype(dtype), []
    if dtype == np.float32:
        image *= np.random.default_rng(1).lognormal(0, 9, shape).astype(np.float32)
        image.flat[::29], image.flat[7], image.flat[11] = -0.0, np.inf, np.nan
    for little in (True, False):
        monkeypatch.setattr("onnxray.kernels.resize.is_little", lambda work, little=little: little)
        results.append(resize(image, (97, 500), filter, antialias=antialias).tobytes())
    assert results[0] == results[1]


def test_one_photograph_needs_no_numba():
    code = """
import sys
import numpy as np
from onnxray.kernels.resize import resize
image = np.zeros((480, 640, 3), np.uint8)
resize(image, (224, 224))
print("numba" in sys.modules)
for _ in range(100):
    resize(image, (224, 224))
print("numba" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == ["False", "True"]


@pytest.mark.usefixtures("either_way")
def test_views_and_copies():
    image = photo(64, 80, 3)
    np.testing.assert_array_equal(resize(image[::2, ::-1], (10, 10)), resize(image[::2, ::-1].copy(), (10, 10)))
    for filter in FILTERS:
        same = resize(image, (64, 80), filter)
        np.testing.assert_array_equal(same, image)
        assert not np.shares_memory(same, image)
    cut = resize(image, (64, 40), region=(0, 0, 64, 80))
    assert not np.shares_memory(cut, image)


@pytest.mark.parametrize(
    ("image", "size", "options", "message"),
    [
        (np.zeros((4, 4), np.uint16), (2, 2), {}, "uint8 or float32"),
        (np.zeros(4, np.uint8), (2, 2), {}, r"shape \(H, W\)"),
        (np.zeros((4, 0), np.uint8), (2, 2), {}, "not be empty"),
        (np.zeros((4, 4), np.uint8), (0, 2), {}, "positive integers"),
        (np.zeros((4, 4), np.uint8), (2, 2), {"filter": "cubic"}, "filter must be one of"),
        (np.zeros((4, 4), np.uint8), (2, 2), {"region": (0, 0, 5, 4)}, "inside the 4x4 image"),
        (np.zeros((4, 4), np.uint8), (2, 2), {"region": (2, 0, 2, 4)}, "inside the 4x4 image"),
        (np.zeros((4, 4), np.uint8), (2, 2), {"region": (0, 0, float("nan"), 4)}, "inside the 4x4 image"),
        (np.zeros((4, 4), np.uint8), (2, 2), {"threads": 0}, "at least 1"),
    ],
)
def test_misuse(image, size, options, message):
    with pytest.raises(ValueError, match=message):
        resize(image, size, **options)


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
@pytest.mark.parametrize("size", [(17, 90), (90, 20), (40, 50)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_are_those_of_the_whole(filter: Filter, size: tuple[int, int], dtype: type) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(dtype)
    for region in (None, (1.5, 2.25, 38.0, 49.5)):
        whole = resize(image, size, filter, region=region)
        starts = range(0, size[0], 7)
        parts = [resize(image, size, filter, region=region, rows=(a, min(a + 7, size[0]))) for a in starts]
        assert np.array_equal(np.concatenate(parts), whole)
    with pytest.raises(ValueError, match="rows must be some of"):
        resize(image, size, filter, rows=(0, size[0] + 1))


@pytest.mark.parametrize("filter", ["bilinear", "nearest", "area"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_part_of_a_larger_image_is_not_copied_whole(
    filter: Filter, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resize_module, "_COPIED", 1000)
    whole = np.random.default_rng(0).integers(0, 255, (90, 70, 3)).astype(dtype)
    part = whole[5:85, 3:60]
    for size in ((20, 30), (80, 30), (20, 57), (100, 90)):
        found = resize(part, size, filter)
        np.testing.assert_array_equal(found, resize(np.ascontiguousarray(part), size, filter))
