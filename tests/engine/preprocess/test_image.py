"""Images to tensors and back: against slow textbook arithmetic, and by marks that must land where they were put."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from onnxray.engine.errors import CardError, ShapeError
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.geometry import Geometry, place
from onnxray.engine.preprocess.image import luminance, pixels_of, prepare, prepare_batch
from onnxray.kernels.resize import resize

SIZES = [(60, 80), (80, 60), (61, 83), (224, 224), (17, 301), (500, 333), (3, 5), (1, 1)]
WAYS: dict[str, dict[str, Any]] = {
    "stretch": {"resize": "stretch"},
    "crop": {"resize": "crop"},
    "crop torchvision": {"resize": "crop", "shortest_edge": 40, "rounding": "torchvision"},
    "crop transformers": {"resize": "crop", "shortest_edge": 41, "rounding": "transformers"},
    "crop stretched": {"resize": "crop", "stretch_to": (45, 50)},
    "crop without surplus": {"resize": "crop", "crop_fraction": 1.0},
    "crop with padding": {"resize": "crop", "shortest_edge": 20},
    "letterbox": {"resize": "letterbox", "pad_value": 114},
    "letterbox top-left": {"resize": "letterbox", "align": "top-left"},
}
PLANES = [(32, 32), (24, 40), (40, 24), (33, 47)]


def image_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# Geometry


def cases() -> list[Any]:
    return [
        pytest.param(way, original, plane, id=f"{way} {original[0]}x{original[1]} to {plane[0]}x{plane[1]}")
        for way, original, plane in itertools.product(WAYS, SIZES, PLANES)
    ]


@pytest.mark.parametrize(("way", "original", "plane"), cases())
def test_the_mapping_is_affine_exact_and_its_own_inverse(way: str, original: Any, plane: Any) -> None:
    geometry = place(Card(size=plane, **WAYS[way]), original)
    assert geometry.size == plane
    corners = np.array([[0.0, 0.0], original, [original[0] / 3, original[1] / 7]])
    there = geometry.to_model(corners)
    np.testing.assert_allclose(geometry.to_original(there), corners, rtol=0, atol=1e-9)
    np.testing.assert_allclose(there[0], geometry.offset, atol=1e-12)
    np.testing.assert_allclose(there[1], np.add(geometry.offset, geometry.resized), atol=1e-9)
    y0, x0, y1, x1 = geometry.box
    assert 0 <= y0 < y1 <= original[0]
    assert 0 <= x0 < x1 <= original[1]
    seen = geometry.to_model([[y0, x0], [y1, x1]])
    top, left, bottom, right = geometry.plane_box
    np.testing.assert_allclose(seen, [[top, left], [bottom, right]], atol=1e-9)
    if way.startswith("crop") and np.greater_equal(geometry.resized, plane).all():
        assert geometry.plane_box == (0, 0, *plane)
    if way.startswith("letterbox"):
        assert geometry.box == (0, 0, *original)


@pytest.mark.parametrize(("way", "original", "plane"), cases())
def test_a_map_covers_exactly_the_pixels_whose_centres_the_model_sees(way: str, original: Any, plane: Any) -> None:
    geometry = place(Card(size=plane, **WAYS[way]), original)
    filled = geometry.to_image(np.ones((7, 5)), fill=np.nan)
    for axis in (0, 1):
        inside = []
        for i in range(original[axis]):
            at = (i + Fraction(1, 2)) * geometry.resized[axis] / original[axis] + geometry.offset[axis]
            inside.append(0 <= at < plane[axis])
        assert (~np.isnan(filled)).any(axis=1 - axis).tolist() == (
            inside if not np.isnan(filled).all() else [False] * len(inside)
        )
    assert np.nanmax(filled, initial=1) == 1
    assert np.nanmin(filled, initial=1) == 1


def test_padding_and_odd_sizes_by_hand() -> None:
    assert place(Card(size=32, resize="letterbox"), (30, 60)) == Geometry((30, 60), (32, 32), (16, 32), (8, 0))
    assert place(Card(size=32, resize="letterbox"), (31, 60)) == Geometry((31, 60), (32, 32), (17, 32), (7, 0))
    assert place(Card(size=32, resize="letterbox", align="top-left"), (31, 60)).offset == (0, 0)
    assert place(Card(size=(480, 640), resize="letterbox"), (1080, 1920)) == Geometry(
        (1080, 1920), (480, 640), (360, 640), (60, 0)
    )
    # 375 x 500: 256 x 341.33; the three families of rounding
    for rounding, resized, offset in (
        ("nearest", (256, 341), (-16, -58)),
        ("torchvision", (256, 341), (-16, -58)),
        ("transformers", (256, 341), (-16, -58)),
    ):
        card = Card(size=224, resize="crop", shortest_edge=256, rounding=rounding)
        assert place(card, (375, 500)) == Geometry((375, 500), (224, 224), resized, offset)
    # 400 x 601: 256 x 384.64; and a surplus of 161 or 160 columns
    for rounding, long, left in (("nearest", 385, 80), ("torchvision", 384, 80), ("transformers", 384, 80)):
        card = Card(size=224, resize="crop", shortest_edge=256, rounding=rounding)
        assert place(card, (400, 601)) == Geometry((400, 601), (224, 224), (256, long), (-16, -left))
    # a surplus of 3 pixels: half of it is cut off in front
    for rounding, left in (("nearest", 1), ("torchvision", 2), ("transformers", 1)):
        card = Card(size=32, resize="crop", stretch_to=(35, 35), rounding=rounding)
        assert place(card, (50, 50)).offset == (-left, -left)


def test_the_default_crop_is_seven_eighths() -> None:
    assert place(Card(size=224, resize="crop"), (512, 512)).resized == (256, 256)
    assert place(Card(size=192, resize="crop"), (480, 640)).resized == (219, 292)
    assert place(Card(size=(240, 320), resize="crop"), (500, 500)).resized == (366, 366)


MARKS = [(0.5, 0.5), (0.41, 0.57), (0.62, 0.44)]


@pytest.mark.parametrize("way", [w for w in WAYS if w != "crop with padding"])
@pytest.mark.parametrize("original", [(240, 320), (333, 250), (64, 48), (97, 411)])
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_comes_back_to_where_it_was(way: str, original: tuple[int, int], mark: tuple[float, float]) -> None:
    """The whole way: the image's mark -> the tensor's mark -> a map with a peak there -> the image."""
    size = 56
    scaled = {"shortest_edge": 64, "stretch_to": (60, 70)}
    card = Card(size=size, mean=0, std=1, **{**WAYS[way], **{k: v for k, v in scaled.items() if k in WAYS[way]}})
    y, x = int(mark[0] * original[0]), int(mark[1] * original[1])
    half = max(2, min(original) // 16)
    image = np.zeros((*original, 3), np.uint8)
    image[y - half : y + half, x - half : x + half] = 255
    prepared = prepare(image, card)
    geometry = prepared.geometry
    plane = prepared.tensor[0, 0]
    top, left, bottom, right = geometry.plane_box
    lit = np.zeros_like(plane)
    lit[top:bottom, left:right] = plane[top:bottom, left:right]
    at = np.array(centre(lit))
    expected = geometry.to_model([y, x])
    assert np.abs(at - expected).max() < 0.25, "the tensor's mark is not where the mapping says"
    back = geometry.to_image(lit)
    scale = np.divide(geometry.original, geometry.resized)
    assert np.abs(np.array(centre(back)) - (y, x)).max() < 0.25 * max(1, scale.max())
    # a coarse map over the plane with one hot cell: its centre of mass is that cell's centre on the image
    cells = 14
    cell = np.clip((expected * cells / size).astype(int), 1, cells - 2)
    coarse = np.zeros((cells, cells))
    coarse[tuple(cell)] = 1
    landed = np.array(centre(geometry.to_image(coarse)))
    wanted = geometry.to_original((cell + 0.5) * size / cells)
    assert np.abs(landed - wanted).max() < 0.5 + 0.05 * scale.max()


def centre(values: np.ndarray) -> tuple[float, float]:
    """Centre of mass in pixels, (y, x)."""
    total = values.sum(dtype=np.float64)
    rows, columns = values.sum(axis=1, dtype=np.float64), values.sum(axis=0, dtype=np.float64)
    return (
        float(rows @ (np.arange(len(rows)) + 0.5) / total),
        float(columns @ (np.arange(len(columns)) + 0.5) / total),
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("original", [(60, 80), (233, 150), (20, 90)])
def test_a_plane_lands_on_every_pixel_with_the_right_value(way: str, original: tuple[int, int]) -> None:
    """A map that holds its own coordinates must hold the pixel's coordinates on the image."""
    geometry = place(Card(size=(48, 64), **WAYS[way]), original)
    fine = (96, 128)
    y, x = np.meshgrid(np.arange(fine[0]) + 0.5, np.arange(fine[1]) + 0.5, indexing="ij")
    stack = geometry.to_image(np.stack([y / 2, x / 2]), fill=np.nan)
    rows, columns = np.meshgrid(np.arange(original[0]) + 0.5, np.arange(original[1]) + 0.5, indexing="ij")
    at = geometry.to_model(np.stack([rows, columns], axis=-1))
    inside = ~np.isnan(stack[0])
    margin = np.divide(geometry.resized, geometry.original).max() + 1
    deep = inside & (at > margin).all(axis=-1) & (at < np.array(geometry.size) - margin).all(axis=-1)
    assert deep.any()
    for k in (0, 1):
        np.testing.assert_allclose(stack[k][deep], at[..., k][deep], atol=0.05)
        np.testing.assert_allclose(stack[k][inside], at[..., k][inside], atol=0.3 * margin + 0.3)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_every_mode_gives_constants_and_extremes_back(mode: Any) -> None:
    for way, kwargs in WAYS.items():
        geometry = place(Card(size=32, **kwargs), (50, 70))
        flat = geometry.to_image(np.full((7, 7), -3.5), mode, fill=-3.5)
        np.testing.assert_allclose(flat, -3.5, rtol=1e-6, err_msg=way)
        signed = np.random.default_rng(0).normal(size=(8, 8))
        landed = geometry.to_image(signed, mode)
        assert landed.min() < 0 < landed.max()
        if mode != "bicubic":
            assert landed.max() <= signed.max() + 1e-6
            assert landed.min() >= signed.min() - 1e-6


def test_nearest_repeats_cells() -> None:
    geometry = place(Card(size=4), (8, 8))
    grid = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(geometry.to_image(grid, "nearest"), np.kron(grid, np.ones((2, 2))))


def test_a_map_finer_than_the_image_is_averaged() -> None:
    geometry = place(Card(size=64), (8, 8))
    noise = np.random.default_rng(0).normal(size=(64, 64))
    landed = geometry.to_image(noise)
    assert landed.std() < 0.25
    spike = np.zeros((64, 64))
    spike[13, 42] = 1
    peak = np.unravel_index(geometry.to_image(spike).argmax(), (8, 8))
    assert peak == (1, 5)


def test_several_maps_at_once() -> None:
    geometry = place(Card(size=32, resize="letterbox"), (20, 50))
    maps = np.random.default_rng(0).normal(size=(3, 5, 6))
    together = geometry.to_image(maps)
    assert together.dtype == np.float32
    assert together.shape == (3, 20, 50)
    for one, alone in zip(together, maps, strict=True):
        np.testing.assert_array_equal(one, geometry.to_image(alone))


def test_nan_stays_where_it_is() -> None:
    geometry = place(Card(size=32, resize="crop"), (40, 60))
    grid = np.ones((8, 8))
    grid[3, 3] = np.nan
    landed = geometry.to_image(grid)
    assert 0 < np.isnan(landed).sum() < landed.size / 8


def test_an_image_so_small_that_no_centre_is_seen() -> None:
    card = Card(size=1, resize="crop", crop_fraction=0.01)
    geometry = place(card, (2, 2))
    assert geometry.to_image(np.ones((1, 1)), fill=7).tolist() == [[7, 7], [7, 7]]
    assert prepare(image_of(2, 2), card).tensor.shape == (1, 3, 1, 1)


def test_maps_of_the_wrong_kind() -> None:
    geometry = place(Card(size=32), (40, 60))
    for wrong in (np.ones(3), np.ones((1, 1, 1, 1)), np.ones((0, 3)), np.ones((2, 2), complex), np.array([["a"]])):
        with pytest.raises(ShapeError, match=r"a map must hold real numbers in the shape \(h, w\)"):
            geometry.to_image(wrong)


def test_geometry_as_json() -> None:
    geometry = place(Card(size=32, resize="letterbox"), (20, 50))
    assert geometry.to_mapping() == {"original": [20, 50], "size": [32, 32], "resized": [13, 32], "offset": [9, 0]}


# Tensors


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("original", [(60, 80), (81, 57), (300, 200)])
def test_only_the_needed_part_is_resampled_and_nothing_changes(way: str, original: tuple[int, int]) -> None:
    """Resize everything, then crop or pad: what the words of the card say, step by step."""
    card = Card(size=(32, 40), mean=0, std=1, **WAYS[way])
    image = image_of(*original)
    prepared = prepare(image, card)
    g = prepared.geometry
    whole = resize(image, g.resized, "bilinear")
    plane = np.full((32, 40, 3), card.pad_value, np.uint8)
    for y, x in itertools.product(range(32), range(40)):
        source = y - g.offset[0], x - g.offset[1]
        if 0 <= source[0] < g.resized[0] and 0 <= source[1] < g.resized[1]:
            plane[y, x] = whole[source]
    difference = np.abs(prepared.tensor[0].transpose(1, 2, 0) - plane.astype(np.float32))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_normalisation_order_and_layout() -> None:
    image = image_of(8, 9)
    mean, std = (10.0, 20.0, 30.0), (2.0, 3.0, 4.0)
    for order, layout in itertools.product(("RGB", "BGR"), ("NCHW", "NHWC", "CHW", "HWC")):
        tensor = prepare(image, Card(size=(8, 9), mean=mean, std=std, order=order, layout=layout)).tensor
        assert tensor.dtype == np.float32
        assert tensor.flags.c_contiguous
        channels = image[..., ::-1] if order == "BGR" else image
        want = (channels.astype(np.float32) - np.float32(mean)) / np.float32(std)
        want = want.transpose(2, 0, 1) if "CH" in layout else want
        np.testing.assert_array_equal(tensor, want[None] if layout[0] == "N" else want)


def test_gray_is_luminance() -> None:
    image = image_of(8, 9)
    weights = image.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(luminance(image) - weights).max() <= 0.51
    assert luminance(np.full((1, 1, 3), 255, np.uint8)) == 255
    for layout, shape in {"NCHW": (1, 1, 8, 9), "NHWC": (1, 8, 9, 1), "NHW": (1, 8, 9), "HW": (8, 9)}.items():
        card = Card(size=(8, 9), order="GRAY", mean=33.0, std=78.0, layout=layout)
        tensor = prepare(image, card).tensor
        assert tensor.shape == shape
        want = (luminance(image).astype(np.float32) - np.float32(33)) / np.float32(78)
        np.testing.assert_array_equal(tensor.reshape(8, 9), want)
        np.testing.assert_array_equal(prepare(luminance(image), card).tensor, tensor)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int8", "uint16", "int16"])
def test_types(dtype: str) -> None:
    image = image_of(8, 9)
    mean = 128.0 if dtype == "int8" else 0.0
    tensor = prepare(image, Card(size=(8, 9), mean=mean, std=1, dtype=dtype)).tensor
    assert tensor.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0).astype(np.float64), image - mean)


def test_integers_are_rounded_and_clipped() -> None:
    image = np.array([[[0, 127, 255]]], np.uint8)
    card = Card(size=1, mean=100, std=0.4, dtype="int8")
    assert prepare(image, card).tensor.ravel().tolist() == [-128, 68, 127]
    assert prepare(image, Card(size=1, mean=0, std=2, dtype="uint8")).tensor.ravel().tolist() == [0, 64, 128]


def test_a_gray_image_for_a_colour_model() -> None:
    gray = image_of(8, 9)[..., 0]
    np.testing.assert_array_equal(
        prepare(gray, Card(size=4)).tensor, prepare(np.repeat(gray[..., None], 3, axis=2), Card(size=4)).tensor
    )


def test_padding_has_its_value_in_every_channel() -> None:
    card = Card(size=16, resize="letterbox", pad_value=114, mean=(1, 2, 3), std=1)
    tensor = prepare(np.zeros((4, 16, 3), np.uint8), card).tensor[0]
    assert [set(c[0].tolist()) for c in tensor] == [{113}, {112}, {111}]
    assert (tensor[:, 6:10] == -np.array([1, 2, 3]).reshape(3, 1, 1)).all()


def test_batches() -> None:
    images = [image_of(20, 30, 1), image_of(50, 10, 2), image_of(8, 8, 3)]
    card = Card(size=16, resize="crop", layout="NHWC")
    tensor, geometries = prepare_batch(images, card)
    assert tensor.shape == (3, 16, 16, 3)
    for i, image in enumerate(images):
        alone = prepare(image, card)
        np.testing.assert_array_equal(tensor[i : i + 1], alone.tensor)
        assert geometries[i] == alone.geometry
    with pytest.raises(ShapeError, match="no image to prepare"):
        prepare_batch([], card)
    unbatched = Card(size=16, layout="CHW")
    assert prepare_batch(images[:1], unbatched)[0].shape == (3, 16, 16)
    with pytest.raises(ShapeError, match=r"\(CHW\) has no batch axis"):
        prepare_batch(images, unbatched)


def test_images_of_the_wrong_kind() -> None:
    for wrong in (
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ):
        with pytest.raises(ShapeError, match=r"an image must be uint8 \(H, W, 3\) RGB"):
            prepare(wrong, Card(size=4))


def test_the_image_given_is_left_alone_and_results_repeat() -> None:
    image = image_of(37, 41)
    before = image.copy()
    for kwargs in WAYS.values():
        card = Card(size=32, **kwargs)
        first, second = prepare(image, card).tensor, prepare(image, card, threads=1).tensor
        assert first.tobytes() == second.tobytes()
        assert not np.shares_memory(first, image)
    np.testing.assert_array_equal(image, before)


def test_from_a_tensor_back_to_pixels() -> None:
    image = image_of(8, 9)
    for order, layout in itertools.product(("RGB", "BGR"), ("NCHW", "NHWC", "CHW")):
        card = Card(size=(8, 9), mean=(123.7, 116.3, 103.5), std=(58, 57, 56), order=order, layout=layout)
        np.testing.assert_array_equal(pixels_of(prepare(image, card).tensor, card)[0], image)
    gray = Card(size=(8, 9), order="GRAY", layout="HW", mean=0, std=255)
    np.testing.assert_array_equal(pixels_of(prepare(image, gray).tensor, gray)[0, ..., 1], luminance(image))
    card = Card(size=2)
    wild = np.array([np.nan, np.inf, -np.inf, 300.0] * 3).reshape(1, 3, 2, 2)
    assert pixels_of(wild, card)[0, ..., 0].tolist() == [[0, 255], [0, 255]]
    with pytest.raises(ShapeError, match="does not fit the card"):
        pixels_of(np.zeros((1, 3, 2, 3)), card)


def test_a_card_that_cannot_be() -> None:
    with pytest.raises(CardError, match="has no channel axis but the order is RGB"):
        Card(layout="NHW")
