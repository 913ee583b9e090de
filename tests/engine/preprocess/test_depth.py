"""Pictures of more than 8 bits and of any number of bands: against plain arithmetic in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxray.engine.errors import CardError, ShapeError
from onnxray.engine.preprocess.card import Card
from onnxray.engine.preprocess.depth import levels, shown
from onnxray.engine.preprocess.image import pixels_of, prepare

RAMP = np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8)


@pytest.mark.parametrize(
    ("card", "black", "white"),
    [({"bits": 12}, 0, 4095), ({"bits": 16}, 0, 65535), ({"window": (1000, 3000)}, 1000, 3000)],
)
@pytest.mark.parametrize("colour", [False, True])
def test_values_become_pixels_as_the_card_says(card: dict[str, Any], black: int, white: int, colour: bool) -> None:
    picture = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1) if colour else RAMP
    made = Card(size=(6, 8), order="RGB" if colour else "GRAY", mean=10, std=4, **card)
    want = np.clip((picture.astype(float) - black) / (white - black), 0, 1) * 255
    tensor = prepare(picture, made).tensor[0]
    np.testing.assert_allclose(tensor, (np.atleast_3d(want).transpose(2, 0, 1) - 10) / 4, atol=1e-4)
    seen = shown(picture, made)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen, np.rint(want if colour else np.stack([want] * 3, axis=-1)))
    np.testing.assert_array_equal(pixels_of(tensor, made)[0], seen)


def test_resampling_keeps_all_bits() -> None:
    made = Card(size=(3, 4), order="GRAY", bits=12, resize="stretch", interpolation="box")
    means = RAMP.reshape(3, 2, 4, 2).mean(axis=(1, 3)) * 255 / 4095
    np.testing.assert_allclose(prepare(RAMP, made).tensor[0, 0], means, rtol=1e-5)


def test_16_bits_are_the_picture_of_8_bits_where_it_has_their_values() -> None:
    eight = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    eight[0, 0] = 255
    for card in (Card(size=(9, 7)), Card(size=(9, 7), order="GRAY"), Card(size=(12, 12), resize="letterbox")):
        same = prepare(eight.astype(np.uint16) * 257, card).tensor
        np.testing.assert_allclose(same, prepare(eight, card).tensor, atol=1.01 if card.order == "RGB" else 0.51)


@pytest.mark.parametrize(("greatest", "bits"), [(4095, 12), (1023, 10), (255, 8), (1, 8), (2000, 12)])
def test_few_bits_in_16_are_refused_with_the_remedy(greatest: int, bits: int) -> None:
    picture = np.minimum(RAMP, greatest).astype(np.uint16)
    with pytest.raises(CardError, match=rf"greatest value .* is {greatest} of 65535.*give bits={bits} or window="):
        prepare(picture, Card(size=(6, 8)))
    prepare(picture, Card(size=(6, 8), bits=bits if bits > 8 else 16))


def test_black_is_black_and_more_than_the_bits_is_refused() -> None:
    assert not prepare(np.zeros((6, 8), np.uint16), Card(size=(6, 8))).tensor.any()
    with pytest.raises(CardError, match="greatest value .* is 4095, more than bits=10 can hold .*give bits=12"):
        prepare(RAMP, Card(size=(6, 8), bits=10))


def test_other_numbers_need_a_window() -> None:
    picture = RAMP.astype(np.int16) - 1024
    with pytest.raises(ShapeError, match="an image must be uint8"):
        prepare(picture, Card(size=(6, 8)))
    with pytest.raises(CardError, match="nothing says which values of this picture of int16 are black and white"):
        prepare(picture[..., None], Card(size=(6, 8), order=(0,)))
    made = Card(size=(6, 8), order="GRAY", window=(-160, 240))
    want = np.clip((picture.astype(float) + 160) / 400, 0, 1) * 255
    np.testing.assert_allclose(prepare(picture, made).tensor[0, 0], want, atol=1e-4)


BANDS = np.random.default_rng(1).normal(500, 200, (6, 8, 5)).astype(np.float32)
NAMED = {"bands": ["blue", "green", "red", "nir", "swir"], "window": "none"}


def test_bands_by_name_in_their_own_units() -> None:
    made = Card(
        size=(6, 8), order=("nir", "red", "swir", "green"), mean=(1, 2, 3, 4), std=(5, 6, 7, 8), **NAMED, display=None
    )
    tensor = prepare(BANDS, made).tensor
    want = (BANDS[..., [3, 2, 4, 1]] - [1, 2, 3, 4]) / [5, 6, 7, 8]
    np.testing.assert_allclose(tensor[0], want.transpose(2, 0, 1), rtol=1e-4, atol=1e-3)
    assert made.shown_bands == (3, 2, 4)
    last = Card(size=(6, 8), order=(0, 1), layout="NHWC", **NAMED)
    np.testing.assert_allclose(prepare(BANDS, last).tensor[0], BANDS[..., :2], rtol=1e-6)


def test_pictures_show_the_display_bands() -> None:
    made = Card(size=(6, 8), order=(0, 1, 2, 3, 4), bits=10, bands=NAMED["bands"], display=("red", "green", "blue"))
    picture = np.clip(BANDS, 0, 1023).astype(np.uint16)
    seen = shown(picture, made)
    np.testing.assert_array_equal(seen, np.rint(picture[..., [2, 1, 0]].astype(float) * 255 / 1023).astype(np.uint8))
    np.testing.assert_array_equal(pixels_of(prepare(picture, made).tensor, made)[0], seen)
    gray = shown(picture, Card(order=(0, 1, 2, 3, 4), bits=10, display=(3,)))
    assert (gray == gray[..., :1]).all()


def test_numbers_without_a_window_are_shown_stretched() -> None:
    made = Card(order=(0, 1, 2), **NAMED)
    seen = shown(BANDS, made).astype(float)
    assert seen.min() == 0
    assert seen.max() == 255
    order = np.argsort(BANDS[..., 0].ravel())
    assert (np.diff(seen[..., 0].ravel()[order]) >= 0).all()


def test_a_picture_without_the_band_is_refused() -> None:
    with pytest.raises(ShapeError, match="the card names band 6, counted from 0, but the picture has 5"):
        prepare(BANDS, Card(order=(0, 6), window="none"))


def test_bytes_are_not_touched() -> None:
    eight = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert levels(eight, Card(bits=12)) is eight
