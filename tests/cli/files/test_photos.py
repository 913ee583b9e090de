"""Pictures with all of their bits and bands, as files hold them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from onnxray.cli.files.images import read
from onnxray.cli.files.photos import read_photo
from onnxray.engine.errors import ImageError
from onnxray.engine.preprocess.card import Card

GRAY = np.linspace(0, 4095, 54).astype(np.uint16).reshape(6, 9)
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
BANDS = np.random.default_rng(0).integers(0, 10000, (6, 9, 5)).astype(np.uint16)


def saved(path: Path, array: np.ndarray) -> Path:
    """As OpenCV writes it, colours in its order."""
    cv2.imwrite(str(path), array if array.ndim == 2 else array[..., [2, 1, 0, *range(3, array.shape[2])]])
    return path


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_all_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    got = read_photo(saved(tmp_path / f"gray.{suffix}", GRAY), Card())
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, GRAY)
    if suffix != "pgm":
        got = read_photo(saved(tmp_path / f"colour.{suffix}", COLOUR), None)
        np.testing.assert_array_equal(got, COLOUR)


def test_8_bits_are_those_of_images(tmp_path: Path) -> None:
    for name, array in (("a.png", COLOUR.astype(np.uint8)), ("b.png", GRAY.astype(np.uint8))):
        path = saved(tmp_path / name, array)
        got = read_photo(path, Card(bits=12))
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, read(path))


def pgm(values: np.ndarray, most: int) -> bytes:
    return b"P5\n%d %d\n%d\n" % (values.shape[1], values.shape[0], most) + values.astype(">u2").tobytes()


def test_a_white_that_the_file_names_becomes_that_of_16_bits(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(pgm(GRAY, 4095))
    got = read_photo(tmp_path / "a.pgm", Card())
    np.testing.assert_array_equal(got, np.rint(GRAY.astype(float) * 65535 / 4095))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.pgm", Card(bits=12)), GRAY)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.pgm", Card(window=(0, 2000))), GRAY)
    (tmp_path / "dark.pgm").write_bytes(pgm(GRAY // 64, 4095))
    assert read_photo(tmp_path / "dark.pgm", Card()).dtype == np.uint8


def test_white_is_zero_and_transparency(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY, photometric="miniswhite")
    np.testing.assert_array_equal(read_photo(path, Card()), 65535 - GRAY)
    np.testing.assert_array_equal(read_photo(path, Card(bits=12)), 4095 - GRAY)
    np.testing.assert_array_equal(
        read_photo(path, Card(window=(1000, 2000))), np.clip(3000 - GRAY.astype(int), 0, None)
    )
    alpha = np.full((6, 9, 1), 65535, np.uint16)
    alpha[0] = 0
    got = read_photo(saved(tmp_path / "b.png", np.concatenate([COLOUR, alpha], axis=2)), Card())
    assert (got[0] == 65535).all()
    np.testing.assert_array_equal(got[1:], COLOUR[1:])


FIVE = Card(order=(0, 1, 2, 3, 4), window="none")


@pytest.mark.parametrize("way", ["pages", "contig", "separate", "npy"])
@pytest.mark.parametrize("dtype", ["u2", "f4", "i2", "u1"])
def test_bands(tmp_path: Path, way: str, dtype: str) -> None:
    array = BANDS.astype(dtype)
    path = tmp_path / ("a.npy" if way == "npy" else "a.tif")
    if way == "npy":
        np.save(path, array)
    elif way == "contig":
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig")
    elif way == "separate":
        tifffile.imwrite(path, np.moveaxis(array, 2, 0), photometric="minisblack", planarconfig="separate")
    else:
        with tifffile.TiffWriter(path) as file:
            for band in range(5):
                file.write(array[..., band], photometric="minisblack", compression="zlib")
    got = read_photo(path, FIVE)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


def test_bands_of_a_plain_picture(tmp_path: Path) -> None:
    four = BANDS[..., :4]
    card = Card(order=(3, 0))
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "a.png", four), card), four)
    np.testing.assert_array_equal(read_photo(saved(tmp_path / "b.png", GRAY), card), GRAY[..., None])


@pytest.mark.parametrize("cut", [30, 200, 700])
def test_broken_bands_are_refused_in_one_line(tmp_path: Path, cut: int) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.moveaxis(BANDS, 2, 0), photometric="minisblack")
    path = tmp_path / "a.tif"
    path.write_bytes(file.getvalue()[:cut])
    with pytest.raises(ImageError, match=r"a.tif' cannot be read as a TIFF of bands") as caught:
        read_photo(path, FIVE)
    assert "\n" not in str(caught.value)


def test_a_bomb_of_bands_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    from onnxray.cli.files import photos

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(BANDS, 2, 0), photometric="minisblack")
    monkeypatch.setattr(photos, "MAX_DECODED", 100)
    with pytest.raises(ImageError, match="MiB in its bands"):
        read_photo(path, FIVE)
