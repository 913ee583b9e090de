"""Image files: decoding judged by files written here byte by byte, refusals by their message, text by its ink."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from onnxray.cli.files import images
from onnxray.cli.files.drawing import is_drawing
from onnxray.cli.files.photos import photo_of
from onnxray.cli.files.quiet import quiet
from onnxray.engine.errors import CardError, ImageError, OutputError
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.depth import levels

H, W = 12, 20


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (H, W, 3), np.uint8)


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    """(160, 240, 3): what JPEG can hold well."""
    y, x = np.mgrid[0:160, 0:240]
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, colour: int, depth: int = 8, extra: bytes = b"") -> bytes:
    """A PNG from rows of samples, without filters."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels.astype(">u2" if depth == 16 else np.uint8))
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def tiff(pixels: np.ndarray, orientation: int = 1, extra_sample: int | None = None) -> bytes:
    """An uncompressed little-endian TIFF in one strip."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = pixels.dtype.itemsize * 8
    data = pixels.tobytes()
    depths = struct.pack(f"<{samples}H", *[bits] * samples)
    at = 8 + len(data)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, samples, bits if samples == 1 else bits | bits << 16 if samples == 2 else at),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if samples > 2 else 1),
        (273, 4, 1, 8),
        (274, 3, 1, orientation),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (284, 3, 1, 1),
    ]
    if extra_sample is not None:
        entries.append((338, 3, 1, extra_sample))
    if pixels.dtype.kind == "f":
        entries.append((339, 3, 1, 3))
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + b"\0" * 4
    return struct.pack("<2sHI", b"II", 42, at + len(depths)) + data + depths + directory


def bmp(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    pad = -3 * width % 4
    raw = b"".join(row[:, ::-1].tobytes() + b"\0" * pad for row in pixels[::-1])
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(raw), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(raw), 0, 0, 54) + head + raw


def exif(orientation: int, order: str = ">") -> bytes:
    mark = b"MM" if order == ">" else b"II"
    return struct.pack(f"{order}2sHIHHHIHHI", mark, 42, 8, 1, 274, 3, 1, orientation, 0, 0)


def jpeg(pixels: np.ndarray, orientation: int | None = None, quality: int = 95) -> bytes:
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    if orientation is None:
        return data
    block = b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def webp(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


# Reading


def test_lossless_files_come_back_exactly(rgb: np.ndarray, tmp_path: Path) -> None:
    files = {"a.png": png(rgb, 2), "a.bmp": bmp(rgb), "a.tif": tiff(rgb), "a.webp": webp(rgb)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        image = images.read(tmp_path / name)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        np.testing.assert_array_equal(image, rgb, err_msg=name)


def test_jpeg_comes_back_nearly(smooth: np.ndarray) -> None:
    image = images.decode(jpeg(smooth))
    assert image.shape == smooth.shape
    assert np.abs(image.astype(int) - smooth).mean() < 2


def test_gray_is_repeated(rgb: np.ndarray) -> None:
    gray = rgb[..., 0]
    for data in (png(gray, 0), tiff(gray)):
        np.testing.assert_array_equal(images.decode(data), np.repeat(gray[..., None], 3, axis=2))


def test_one_bit_gray(rgb: np.ndarray) -> None:
    bits = rgb[..., 0] > 127
    packed = np.packbits(bits, axis=1)
    head = struct.pack(">IIBBBBB", W, H, 1, 0, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(images.decode(data)[..., 1], bits * 255)


def test_palettes_are_looked_up(rgb: np.ndarray) -> None:
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
    data = png(rgb[..., 0], 3, extra=chunk(b"PLTE", palette.tobytes()))
    np.testing.assert_array_equal(images.decode(data), palette[rgb[..., 0]])


def test_sixteen_bits_are_rounded_by_257() -> None:
    ramp = np.linspace(0, 65535, H * W).astype(np.uint16).reshape(H, W)
    want = np.floor(ramp / 257 + 0.5).astype(np.uint8)
    colour = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1)
    np.testing.assert_array_equal(images.decode(png(ramp, 0, 16))[..., 0], want)
    np.testing.assert_array_equal(images.decode(tiff(ramp))[..., 2], want)
    np.testing.assert_array_equal(images.decode(png(colour, 2, 16)), np.stack([want, want[::-1], want[:, ::-1]], -1))
    np.testing.assert_array_equal(images.decode(tiff(colour)), np.stack([want, want[::-1], want[:, ::-1]], -1))


def test_transparency_is_laid_over_white(rgb: np.ndarray) -> None:
    alpha = np.random.default_rng(3).integers(0, 256, (H, W, 1), np.uint8)
    alpha[0], alpha[1] = 0, 255
    want = (rgb * (alpha / 255) + 255 * (1 - alpha / 255)).astype(np.float64)
    with_alpha = np.concatenate([rgb, alpha], axis=-1)
    for data in (png(with_alpha, 6), tiff(with_alpha, extra_sample=2), png(with_alpha.astype(np.uint16) * 257, 6, 16)):
        image = images.decode(data)
        assert np.abs(image - want).max() <= 1
        assert (image[0] == 255).all()
        np.testing.assert_array_equal(image[1], rgb[1])
    # colours that were multiplied by their alpha before they were stored
    associated = np.concatenate([np.round(rgb * (alpha / 255)).astype(np.uint8), alpha], axis=-1)
    assert np.abs(images.decode(tiff(associated, extra_sample=1)) - want).max() <= 2
    deep = np.concatenate([np.round(rgb * 257.0 * (alpha / 255)), alpha * 257.0], axis=-1).astype(np.uint16)
    assert np.abs(images.decode(tiff(deep, extra_sample=1)) - want).max() <= 2


def test_gray_with_alpha(rgb: np.ndarray) -> None:
    image = images.decode(png(rgb[..., :2], 4))
    value, alpha = rgb[..., 0].astype(float), rgb[..., 1] / 255
    assert np.abs(image[..., 0] - (value * alpha + 255 * (1 - alpha))).max() <= 1


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_is_applied_once(orientation: int, rgb: np.ndarray, smooth: np.ndarray) -> None:
    upright = UPRIGHT[orientation]
    tagged = png(rgb, 2, extra=chunk(b"eXIf", exif(orientation, "<")))
    np.testing.assert_array_equal(images.decode(tagged), upright(rgb))
    np.testing.assert_array_equal(images.decode(tiff(rgb, orientation)), upright(rgb))
    stored = images.decode(jpeg(smooth))
    np.testing.assert_array_equal(images.decode(jpeg(smooth, orientation)), upright(stored))


def test_webp_orientation(rgb: np.ndarray) -> None:
    plain = webp(rgb)
    block = exif(6, "<")
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0x08) + (W - 1).to_bytes(3, "little") + (H - 1).to_bytes(3, "little")
    body = b"WEBP" + extended + plain[12:] + b"EXIF" + struct.pack("<I", len(block)) + block
    np.testing.assert_array_equal(images.decode(b"RIFF" + struct.pack("<I", len(body)) + body), np.rot90(rgb, -1))


def test_a_senseless_orientation_is_none(rgb: np.ndarray) -> None:
    for block in (exif(0), exif(99), b"", b"MM", exif(6)[:12], b"II*\0\xff\xff\xff\xff"):
        np.testing.assert_array_equal(images.decode(png(rgb, 2, extra=chunk(b"eXIf", block))), rgb)


def test_paths_of_any_alphabet(rgb: np.ndarray, tmp_path: Path) -> None:
    for name in ("größe.png", "猫 und кот.png", "with space.PNG"):
        images.write(tmp_path / name, rgb)
        np.testing.assert_array_equal(images.read(tmp_path / name), rgb)


# Refusals


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert "OpenCV" not in message
    return message


def refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ImageError, match=match) as caught:
        images.read(path)
    assert path.name in one_line(caught)


def test_empty_text_and_foreign_files(tmp_path: Path) -> None:
    refused(tmp_path / "a.jpg", b"", r"is empty \(0 bytes\)")
    refused(
        tmp_path / "b.jpg", b"hello, this is text", "cannot be read as an image: it is a text file; supported are JPEG"
    )
    refused(tmp_path / "c.png", b"GIF89a" + bytes(100), "a GIF")
    refused(tmp_path / "d.png", b"%PDF-1.7\n", "a PDF")
    refused(tmp_path / "e.jpg", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer")
    refused(tmp_path / "f.jpg", bytes([1, 2, 3, 4]), "begins with 01 02 03 04")
    refused(tmp_path / "f2.jpg", bytes([1, 2, 3, 4]), "it is a file of another kind, which begins with")
    refused(
        tmp_path / "h.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n" + bytes(50), "it is a Radiance HDR image, whose"
    )
    refused(tmp_path / "g.jpg", b"\0\0\0\x1cftypheic", "HEIF")


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.8, 0.98])
def test_a_part_of_a_file_is_never_half_an_image(kept: float, smooth: np.ndarray, tmp_path: Path) -> None:
    progressive = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, smooth.shape, np.uint8)
    for name, data in {
        "a.jpg": jpeg(smooth),
        "b.jpg": progressive,
        "c.png": png(noise, 2),
        "d.bmp": bmp(noise),
        "e.tif": tiff(noise),
        "f.webp": webp(noise),
    }.items():
        refused(tmp_path / name, data[: int(len(data) * kept)], "truncated|cannot be decoded|cut off")


def test_half_a_jpeg_with_an_end_marker_is_damaged(smooth: np.ndarray, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, smooth.shape, np.uint8)
    data = jpeg(noise)
    refused(tmp_path / "a.jpg", data[: len(data) // 2] + b"\xff\xd9", "damaged JPEG: part of its picture is missing")


def test_bytes_after_the_end_are_ignored(rgb: np.ndarray, smooth: np.ndarray) -> None:
    np.testing.assert_array_equal(images.decode(png(rgb, 2) + b"tail"), rgb)
    np.testing.assert_array_equal(images.decode(jpeg(smooth) + b"tail" * 50), images.decode(jpeg(smooth)))


def test_a_broken_checksum_is_refused(rgb: np.ndarray, tmp_path: Path) -> None:
    data = bytearray(png(rgb, 2))
    data[60] ^= 255
    refused(tmp_path / "a.png", bytes(data), "cannot be decoded")


def test_size_is_checked_before_decoding(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    refused(tmp_path / "a.png", bomb, "60000 x 60000 pixels, more than the limit of 200 million")
    rgb = np.zeros((H, W, 3), np.uint8)
    for data in (png(rgb, 2), bmp(rgb), tiff(rgb), webp(rgb), jpeg(rgb)):
        assert images.decode(data, max_pixels=H * W).shape == (H, W, 3)
        with pytest.raises(ImageError, match=f"{W} x {H} pixels, more than the limit"):
            images.decode(data, max_pixels=H * W - 1)


def test_no_pixels(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    refused(tmp_path / "a.png", data, "is empty: a PNG of 0 x 5")


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "a.tif", tiff(np.ones((H, W), np.float32)), "holds float32 values")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        images.read(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder, not an image"):
        images.read(tmp_path)
    with pytest.raises(ImageError, match="null"):
        images.read("a\0b.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a regular file"):
            images.read(tmp_path / "pipe.png")


def test_mutilated_files_raise_nothing_but_image_errors(rgb: np.ndarray, smooth: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    files = [png(rgb, 2, extra=chunk(b"eXIf", exif(6))), bmp(rgb), tiff(rgb), webp(rgb), jpeg(smooth[:40, :40], 6)]
    read = 0
    messages: list[str] = []
    for data in files:
        for _ in range(60):
            broken = bytearray(data)
            for at in rng.integers(0, min(len(broken), 200), rng.integers(1, 6)):
                broken[at] = rng.integers(0, 256)
            try:
                read += images.decode(bytes(broken), max_pixels=10**6).shape[2] == 3
            except ImageError as error:
                messages.append(str(error))
    assert read > 0
    assert not any("\n" in message for message in messages)


def test_nothing_is_said_on_stderr_but_what_others_say(rgb: np.ndarray, capfd: Any) -> None:
    bad_profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"junk" * 50))
    np.testing.assert_array_equal(images.decode(png(rgb, 2, extra=bad_profile)), rgb)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = jpeg(noise)
    with pytest.raises(ImageError):
        images.decode(data[: len(data) // 2] + b"\xff\xd9")
    with quiet():
        os.write(2, b"progress 3 of 4\n")
    assert capfd.readouterr().err == "progress 3 of 4\n"


def test_works_without_stderr(rgb: np.ndarray, tmp_path: Path) -> None:
    images.write(tmp_path / "a.png", rgb)
    code = (
        "import os, sys; os.close(2); sys.stderr = None; from onnxray.cli.files import images;"
        f"print(images.read({str(tmp_path / 'a.png')!r}).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, text=True)
    assert done.stdout.strip() == str((H, W, 3))


# Writing


def test_drawings_and_photos_are_told_apart_and_written_as_they_are() -> None:
    rng = np.random.default_rng(0)
    drawing = np.full((300, 400, 3), 255, np.uint8)
    drawing[50:60, 20:380] = drawing[50:250, 20:30] = (30, 90, 160)
    photo = rng.normal(128, 6, (300, 400, 3)).astype(np.uint8)
    assert is_drawing(drawing)
    assert is_drawing(drawing[..., 0] > 99)
    assert not is_drawing(photo)
    for image in (drawing, photo, photo[..., 0], photo[:1, :1], drawing[:, :1]):
        np.testing.assert_array_equal(
            images.decode(images.encode(image)), image if image.ndim == 3 else image[..., None].repeat(3, 2)
        )
    assert len(images.encode(drawing)) < drawing.size / 100


def test_what_is_written_is_read_back(rgb: np.ndarray, tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tif", ".tiff", ".PNG"):
        path = images.write(tmp_path / f"deep/a{suffix}", rgb)
        np.testing.assert_array_equal(images.read(path), rgb)
    for suffix in (".jpg", ".webp"):
        assert images.read(images.write(tmp_path / f"b{suffix}", rgb)).shape == rgb.shape
    gray = images.write(tmp_path / "gray.png", rgb[..., 0])
    np.testing.assert_array_equal(images.read(gray)[..., 2], rgb[..., 0])
    assert not list(tmp_path.rglob("*.part"))


def test_rgba_is_written_with_its_alpha(rgb: np.ndarray) -> None:
    rgba = np.concatenate([rgb, np.full((H, W, 1), 255, np.uint8)], axis=-1)
    rgba[0, :, 3] = 0
    image = images.decode(images.encode(rgba))
    assert (image[0] == 255).all()
    np.testing.assert_array_equal(image[1:], rgb[1:])


def test_the_same_image_gives_the_same_bytes(rgb: np.ndarray) -> None:
    assert images.encode(rgb) == images.encode(np.asfortranarray(rgb))
    assert images.encode(rgb)[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_cannot_be_written(rgb: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written as '\.gif': use one of \.png"):
        images.write(tmp_path / "a.gif", rgb)
    with pytest.raises(OutputError, match="cannot be written as ''"):
        images.write(tmp_path / "a", rgb)
    for wrong in (rgb.astype(np.float32), rgb[..., :2], np.zeros((0, 4, 3), np.uint8), rgb[None]):
        with pytest.raises(OutputError, match="a picture must be uint8"):
            images.encode(wrong)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        images.write(tmp_path / "file" / "a.png", rgb)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(
    not Path("/dev/full").exists() or getattr(os, "geteuid", lambda: 1)() != 0,
    reason="needs root to mount a small tmpfs",
)
def test_a_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
        with pytest.raises(OutputError, match="No space left on device"):
            images.write(small / "a.png", noise)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


# Text


@pytest.mark.parametrize("size", [9, 14, 24, 60])
@pytest.mark.parametrize("bold", [False, True])
def test_text_lies_in_the_box_that_was_promised(size: int, bold: bool) -> None:
    text = "Ågy|Q Größe 0.93"
    width, height = images.text_size(text, size, bold=bold)
    image = np.full((3 * height, width + 80, 3), 255, np.uint8)
    assert images.draw_text(image, text, (40, height), size, (200, 0, 0), bold=bold) is image
    ink = np.argwhere((image < 250).any(axis=-1))
    (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0) + 1
    assert height <= top < height + 0.35 * size
    assert 2 * height - 0.35 * size < bottom <= 2 * height
    assert 40 - 1 <= left < 40 + 0.3 * size
    assert 40 + width - 0.3 * size < right <= 40 + width + 1
    red = image[(image < 128).any(axis=-1)]
    assert (red[:, 0] > red[:, 1]).all()


def test_text_can_be_anchored(rgb: np.ndarray) -> None:
    width, height = images.text_size("Maul", 20)
    for anchor, x in {"left": 100, "middle": 100 + width // 2, "right": 100 + width}.items():
        image = np.zeros((height, 300, 3), np.uint8)
        images.draw_text(image, "Maul", (x, 0), 20, (255, 255, 255), anchor=anchor)
        columns = np.flatnonzero(image.any(axis=(0, 2)))
        assert 99 <= columns[0] < 106
        assert 94 + width < columns[-1] <= 101 + width


def test_text_of_any_kind_is_taken() -> None:
    image = np.zeros((60, 400, 3), np.uint8)
    for text in ("猫 кот", "emoji 🐈", "\udcff lone", "two\nlines\t\0", "", "é́́", "x" * 5000):
        images.draw_text(image, text, (-10, 20), 18, (255, 255, 255))
        assert images.text_size(text, 18)[1] == images.text_size("a", 18)[1]
    assert images.text_size("two\nlines", 18) == images.text_size("two lines", 18)


def test_text_in_a_part_of_an_image() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    images.draw_text(image[10:60, 20:200], "part", (0, 0), 30, (255, 255, 255))
    assert image[10:60, 20:200].any()
    image[10:60, 20:200] = 0
    assert not image.any()


def test_old_opencv_draws_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    for cached in (images._line, images._hershey):
        cached.cache_clear()
    try:
        assert images._printable("Größe é 猫") == "Grosse e ?"
        test_text_lies_in_the_box_that_was_promised(24, False)
    finally:
        monkeypatch.undo()
        for cached in (images._line, images._hershey):
            cached.cache_clear()


def test_opencv_that_cannot_be_imported_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    code = "import onnxray.cli.files.images"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "RuntimeUnavailable" in ran.stderr.splitlines()[-1]
    assert "apt-get install libgl1" in ran.stderr.splitlines()[-1]


def photometric(data: bytes, kind: int) -> bytes:
    """A TIFF of `tiff` with another meaning of its numbers."""
    at = data.rindex(struct.pack("<HHI", 262, 3, 1))
    return data[: at + 8] + struct.pack("<I", kind) + data[at + 12 :]


@pytest.mark.parametrize(("depth", "step"), [(8, 1), (16, 257)])
def test_the_transparent_level_of_a_gray_png_becomes_white(depth: int, step: int) -> None:
    levels = np.array([[0, 20, 40, 255]]) * step
    data = png(levels, 0, depth, chunk(b"tRNS", struct.pack(">H", 20 * step)))
    assert images.decode(data)[0, :, 0].tolist() == [0, 255, 40, 255]


def test_a_jpeg_of_fill_bytes_is_refused_at_once(smooth: np.ndarray) -> None:
    head = cv2.imencode(".jpg", smooth)[1].tobytes()[:2000]
    code = (
        "import sys\nfrom onnxray.cli.files.images import decode\nfrom onnxray.engine.errors import ImageError\n"
        "try: decode(sys.stdin.buffer.read())\nexcept ImageError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=head + b"\xff" * 3_000_000, capture_output=True, timeout=60
    )
    assert b"truncated JPEG" in done.stdout


@pytest.mark.parametrize("tiny", [b"\xff\xe0\x00\x02", b"\xff\x01"])
def test_a_jpeg_of_nothing_but_parts(tiny: bytes) -> None:
    with pytest.raises(ImageError, match="parts"):
        images.decode(b"\xff\xd8" + tiny * (1 << 20) + b"\xff\xd9")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("offset", [2**64 - 1, 2**63 - 1, 2**63, 10**6])
def test_offsets_of_a_big_tiff_beyond_the_file(order: str, offset: int) -> None:
    start = (b"II+\0\x08\0\0\0" if order == "<" else b"MM\0+\0\x08\0\0") + struct.pack(order + "Q", offset)
    with pytest.raises(ImageError, match="cut off in its header"):
        images.decode(start + bytes(40))
    inside = start[:8] + struct.pack(order + "QQHHQQ", 16, 1, 256, 3, 2**60, offset)
    with pytest.raises(ImageError, match="cut off in its header"):
        images.decode(inside + bytes(40))


def test_bits_of_a_camera_are_asked_for(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    assert images.decode(png(ramp, 0, 16)).max() == 16
    pixels, notes = photo_of("a.png", png(ramp, 0, 16), Card())
    assert notes == ()
    with pytest.raises(CardError, match="4095 of 65535"):
        levels(pixels, Card())
    again, none = photo_of("a.png", png(ramp.astype(int) * 16, 0, 16), Card())
    assert none == ()
    assert abs(levels(again, Card()) - ramp / 4095 * 255).max() <= 1


def test_16_bits_are_rounded_whatever_the_size_and_channels() -> None:
    """Bands of rows meet without a seam."""
    rng = np.random.default_rng(2)
    values = rng.integers(0, 65536, (700, 900, 3), np.uint16)
    data = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    assert (images.decode(data) == np.floor(values / 257 + 0.5).astype(np.uint8)).all()


@pytest.mark.parametrize("kind", [8, 9, 10])
def test_cielab_is_refused(rgb: np.ndarray, kind: int) -> None:
    with pytest.raises(ImageError, match="LAB with 8 bits a channel, which is not read: save it as RGB"):
        images.decode(photometric(tiff(rgb), kind))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero(rgb: np.ndarray, dtype: type) -> None:
    gray = rgb[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    assert (images.decode(photometric(tiff(gray), 0))[..., 0] == 255 - rgb[..., 0]).all()


def test_a_small_file_of_many_bytes_is_not_decoded() -> None:
    data = tiff(np.zeros((4, 4), np.float64))
    with pytest.raises(ImageError, match="float64"):
        images.decode(data)
    head = struct.pack(">IIBBBBB", 13000, 13000, 16, 6, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="pixels of 8 bytes, more than the limit of 1024 MiB"):
        images.decode(bomb)


NAMES = {"P2": "P2\n# c\n4 1 #\n%d\n", "P5": "P5\n4 1\n%d\n", "P3": "P3 4 1\n%d\n", "P6": "P6\n4 1 %d\n"}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("most", [15, 100, 255, 1023, 4095, 65535])
def test_netpbm(kind: str, most: int) -> None:
    values = np.array([0, most // 3, most // 2, most])
    samples = np.repeat(values, 3) if kind in ("P3", "P6") else values
    body = samples.astype(">u2" if most > 255 else "u1").tobytes()
    if kind in ("P2", "P3"):
        body = " ".join(map(str, samples)).encode() + b"\n"
    pixels = images.decode((NAMES[kind] % most).encode() + body)
    assert photo_of("a.ppm", (NAMES[kind] % most).encode() + body, None)[1] == ()
    assert abs(pixels[0, :, 1].astype(float) - values * 255 / most).max() <= 1
    if kind in ("P5", "P6"):
        with pytest.raises(ImageError, match="truncated PNM"):
            images.decode((NAMES[kind] % most).encode() + body[:-1])


def test_netpbm_bits() -> None:
    assert images.decode(b"P4\n8 1\n\x55")[0, :, 0].tolist() == [255, 0] * 4
    assert images.decode(b"P1\n4 1\n0 1 0 1\n")[0, :, 0].tolist() == [255, 0, 255, 0]


@pytest.mark.parametrize("head", [b"P5\n", b"P5 -1 2 255\n", b"P5 2 2 0\n", b"P6 " + b"#\n" * 10000 + b"1 1 255\n"])
def test_broken_netpbm(head: bytes) -> None:
    with pytest.raises(ImageError, match="broken PNM"):
        images.decode(head + bytes(40))


def test_of_several_frames_the_first_is_shown_and_said() -> None:
    frames = [Image.new("P", (9, 7), color) for color in (0, 1)]
    for frame in frames:
        frame.putpalette([200, 10, 20, 0, 0, 0])
    for suffix in ("GIF", "TIFF", "PNG", "WEBP"):
        file = io.BytesIO()
        several = [frame.convert("RGB") if suffix in ("TIFF", "PNG", "WEBP") else frame for frame in frames]
        several[0].save(file, suffix, save_all=True, append_images=several[1:], lossless=True)
        pixels, notes = photo_of(f"a.{suffix}", file.getvalue(), None)
        assert pixels.shape == (7, 9, 3)
        assert abs(pixels[3, 4].astype(int) - [200, 10, 20]).max() <= 1, suffix
        assert len(notes) == 1, suffix
        assert "of several is shown" in notes[0]


def test_gif(smooth: np.ndarray) -> None:
    picture = Image.fromarray(smooth).convert("P", palette=Image.Palette.ADAPTIVE)
    file = io.BytesIO()
    picture.save(file, "GIF", transparency=picture.getpixel((0, 0)))
    pixels, notes = photo_of("a.gif", file.getvalue(), None)
    want = np.asarray(picture.convert("RGB")).copy()
    want[np.asarray(picture) == picture.getpixel((0, 0))] = 255
    assert notes == ()
    assert (pixels == want).all()
    with pytest.raises(ImageError, match="truncated GIF"):
        images.decode(file.getvalue()[: len(file.getvalue()) // 2])


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif(smooth: np.ndarray, bits: int) -> None:
    values = np.rint(smooth.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint8 if bits == 8 else np.uint16)
    try:
        options = [cv2.IMWRITE_AVIF_QUALITY, 100, cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_SPEED, 10]
        data = cv2.imencode(".avif", values[..., ::-1], options)[1].tobytes()
    except cv2.error:
        pytest.skip("this OpenCV has no AVIF")
    assert abs(images.decode(data).astype(int) - smooth).max() <= 4
    for length in (40, 200, len(data) // 2):
        with pytest.raises(ImageError):
            images.decode(data[:length])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_2000(smooth: np.ndarray, dtype: type) -> None:
    values = smooth.astype(dtype) * (257 if dtype == np.uint16 else 1)
    try:
        data = cv2.imencode(".jp2", np.ascontiguousarray(values[..., ::-1]))[1].tobytes()
    except cv2.error:
        pytest.skip("this OpenCV has no JPEG 2000")
    assert abs(images.decode(data).astype(int) - smooth).max() <= 1
    with pytest.raises(ImageError, match="truncated JPEG 2000"):
        images.decode(data[: len(data) // 2])


def test_open_exr_is_named() -> None:
    with pytest.raises(ImageError, match="an OpenEXR image, .*: save it with 8 or 16 bits"):
        images.decode(b"\x76\x2f\x31\x01" + bytes(100))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not a regular file"):
        images.read(tmp_path / "a.png")


def test_zeros_and_parentheses_read_as_such() -> None:
    """One of OpenCV's fonts writes a zero with a stroke, which is another letter, and loose parentheses."""
    if not images.cv2.FontFace("uni").getName():
        pytest.skip("OpenCV without its font of many characters")
    canvas = np.full((60, 60, 3), 255, np.uint8)
    images.draw_text(canvas, "0", (10, 5), 40)
    rows, columns = np.nonzero(canvas[..., 0] < 128)
    inside = canvas[rows.min() + 8 : rows.max() - 7, (columns.min() + columns.max()) // 2, 0]
    assert (inside > 200).all()
    assert images.text_size("(2)", 40)[0] < images.text_size("222", 40)[0]


def test_bold_letters_are_heavier() -> None:
    ink = []
    for bold in (False, True):
        canvas = np.full((30, 200, 3), 255, np.uint8)
        images.draw_text(canvas, "stage4", (4, 2), 16, bold=bold)
        ink.append(int((255 - canvas.astype(int)).sum()))
    assert ink[1] > 1.2 * ink[0]


def test_text_drawn_by_several_threads_is_that_of_one() -> None:
    """OpenCV's fonts keep letters that they have drawn, without a lock."""
    texts = [(f"{n}: the {n * n}th letter, {chr(33 + n % 90) * 9} {n:x}", 9 + n % 40) for n in range(240)]

    def drawn(_: int) -> list[bytes]:
        found = []
        for text, size in texts:
            canvas = np.zeros((64, 900, 3), np.uint8)
            images.draw_text(canvas, text, (3, 3), size, (255, 255, 255), bold=size % 3 == 0)
            found.append(canvas.tobytes())
        return found

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(drawn, range(8)))
    alone = drawn(0)
    assert all(found == alone for found in together)
