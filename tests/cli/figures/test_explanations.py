"""The sheet of explanations: methods are rows, targets columns; crops of units; ranges that images share."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

import onnxray
from onnxray.cli.figures import crop, explanations, figure
from onnxray.cli.figures.explanations import PANEL, Sheet, gallery_of, seen

RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def model(cnn: onnx.ModelProto) -> onnxray.Model:
    return onnxray.load(cnn, size=16, mean=127.5, std=127.5, resize="stretch", labels=list("abcde"))


def test_methods_are_rows_and_targets_are_columns(model: onnxray.Model) -> None:
    sheet = Sheet("photo.png", PHOTO, 0.6)
    for target in (0, 3):
        for method in ("grad-cam", "gradient", "occlusion"):
            sheet.add(onnxray.explain(model, PHOTO, method, target))
    assert list(sheet._rows) == ["grad-cam", "gradient", "occlusion"]
    assert all(list(cells) == ["a (0)", "d (3)"] for cells in sheet._rows.values())
    two = sheet.picture
    for method in ("grad-cam", "gradient", "occlusion"):
        sheet.add(onnxray.explain(model, PHOTO, method, 4))
    assert abs(sheet.picture.shape[0] - two.shape[0]) <= 2
    assert sheet.picture.shape[1] > two.shape[1]


def test_further_pictures_of_a_method_follow_it(model: onnxray.Model) -> None:
    sheet = Sheet("photo.png", PHOTO, 0.6)
    block = figure.blank(10, 10)
    for target in (0, 1):
        sheet.add(onnxray.explain(model, PHOTO, "occlusion", target), extra={"more": block} if target else {})
        sheet.add(onnxray.explain(model, PHOTO, "gradient", target))
    assert list(sheet._rows) == ["occlusion", "occlusion: more", "gradient"]


def test_captions_are_whole() -> None:
    long = "fire9/concat channel 465 at 4, 9"
    block = figure.paragraph(long, figure.SMALL, 100, bold=True)
    assert block.shape[1] <= 100
    assert block.shape[0] > figure.text(long, figure.SMALL).shape[0]
    word = figure.paragraph("a/very/long/name/without/any/blank/in/it", figure.SMALL, 80)
    assert word.shape[1] <= 80


def test_a_unit_is_cropped_to_what_it_looks_at(model: onnxray.Model) -> None:
    layer = model.layers[0].name
    e = onnxray.explain(model, PHOTO, "guided-backprop", f"unit:{layer}:strongest,strongest")
    box = crop.support(e)
    assert box is not None
    y0, x0, y1, x1 = box
    outside = np.ones((64, 64), bool)
    outside[max(0, y0 - 4) : y1 + 4, max(0, x0 - 4) : x1 + 4] = False  # pixels between cells are interpolated
    assert (e.picture()[outside] == 128).all()
    assert (y1 - y0) * (x1 - x0) < 64 * 64 / 4
    pair = crop.pair(PHOTO, e.picture(), box, PANEL)
    assert pair.shape[1] <= PANEL + 2
    assert crop.support(onnxray.explain(model, PHOTO, "guided-backprop", 0)) is None
    assert crop.support(onnxray.explain(model, PHOTO, "gradient", f"unit:{layer}:strongest,strongest")) is None


def test_a_sheet_keeps_no_copy_of_the_image(cnn: onnx.ModelProto, monkeypatch: Any) -> None:
    """A map of the whole image in float32, and a veiled copy of it for as long as the sheet, took 8 and 3 bytes a pixel."""
    photo = RNG.integers(0, 256, (400, 800, 3), np.uint8)
    e = onnxray.explain(cnn, photo, size=16, mean=127.5, std=60, resize="crop", crop_fraction=1.0)
    want = seen(photo, e)
    monkeypatch.setattr(explanations, "_WHOLE", 5000)
    assert np.array_equal(seen(photo, e), want)
    sheet = Sheet("p", photo, 0.6)
    sheet.add(e)
    held = [v for v in vars(sheet).values() if isinstance(v, np.ndarray) and v is not photo]
    assert sum(v.nbytes for v in held) < photo.nbytes / 4


def test_what_the_model_does_not_see_is_veiled_on_the_sheet(cnn: onnx.ModelProto) -> None:
    photo = RNG.integers(0, 256, (40, 80, 3), np.uint8)
    e = onnxray.explain(cnn, photo, size=16, mean=127.5, std=60, resize="crop", crop_fraction=1.0)
    shown = seen(photo, e)
    assert np.array_equal(shown[:, 20:60], photo[:, 20:60])
    assert (shown[:, :20, 0] == shown[:, :20, 1]).all()
    small = seen(np.ascontiguousarray(photo[::2, ::2]), e)  # a smaller copy of the image
    assert (small[:, :10, 0] == small[:, :10, 1]).all()
    assert np.array_equal(small[:, 10:30], photo[::2, ::2][:, 10:30])


def test_a_gallery_has_one_range(model: onnxray.Model, monkeypatch: Any) -> None:
    drawn = []
    original = onnxray.Explanation.overlay
    monkeypatch.setattr(
        onnxray.Explanation,
        "overlay",
        lambda self, alpha=0.5, colormap=None, range=None: (
            drawn.append(range) or original(self, alpha, colormap, range)
        ),
    )
    photos = [PHOTO, np.full((64, 64, 3), 128, np.uint8)]
    found = gallery_of((("one", onnxray.explain(model, photo)) for photo in photos), 0.6)
    ranges = [onnxray.explain(model, photo).range for photo in photos]
    assert drawn == [explanations.shared_range(ranges)] * 2
    assert (found.scale.lo, found.scale.hi) == explanations.shared_range(ranges)
    assert found.picture.shape[1] > 2 * PANEL


def test_the_bar_of_three_channels_has_gray_in_the_middle() -> None:
    bar = figure.colour_bar(figure.Scale("rgb", -1.0, 1.0), 201)
    assert (np.abs(bar[1:15, 101].astype(int) - 128) <= 1).all()
    assert bar[3, 201].tolist()[0] == 255
    assert bar[8, 201].tolist()[1] == 255
