"""The picture of the most probable class with each part hidden: its colours, its legend, its shares."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.figures import class_map as classmaps
from onnxray.cli.figures import figure
from onnxray.cli.files.images import read, write

Run = Callable[..., Result]
LABELS = [*(f"n{i:08d} thing {i}" for i in range(11)), "none"]


@pytest.fixture
def quarters(parse: Callable[..., onnx.ModelProto]) -> onnxray.Model:
    """Class 11 unless a cell of the 4 x 4 grid of the image is hidden: then that of the cell's number, up to 10."""
    columns = np.full((16, 12), 0, np.float32)
    for cell in range(16):
        columns[cell, min(cell, 10)] = -1
    proto = parse(
        """
        m (float[N, 1, 32, 32] x) => (float[N, 12] y)
        {
          cells = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (x)
          flat = Flatten (cells) each = MatMul (flat, columns) y = Add (each, offset)
        }
        """,
        columns=columns,
        offset=np.array([*[1.0] * 10, 6.0, 0.5], np.float32),
    )
    return onnxray.load(proto, size=32, mean=[0], std=[255], order="GRAY", resize="stretch", labels=LABELS)


@pytest.fixture
def explained(quarters: onnxray.Model) -> Any:
    return onnxray.explain(quarters, np.full((64, 64, 3), 255, np.uint8), "occlusion", patch=8, stride=8, fill="zero")


def test_the_map_is_of_windows(explained: Any) -> None:
    expected = np.minimum(np.arange(16), 10).reshape(4, 4)
    np.testing.assert_array_equal(explained.details["classes"], expected)
    np.testing.assert_array_equal(explained.details["class_map"], np.kron(expected, np.ones((8, 8), int)))
    assert explained.details["class"] == 11


def test_answers_are_sorted_by_their_shares(explained: Any) -> None:
    assert classmaps.has_classes(explained)
    found = classmaps.answers(explained)
    assert found[0] == classmaps.Answer(11, "none (11)", 0.0)
    assert found[1] == classmaps.Answer(10, "thing 10 (10)", 6 / 16)
    assert [a.index for a in found[2:]] == list(range(10))
    assert sum(a.share for a in found) == pytest.approx(1)


def test_colours_and_legend(explained: Any) -> None:
    picture = classmaps.picture(explained, alpha=0.5)
    assert picture.dtype == np.uint8
    white = np.array([255, 255, 255])
    present = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    for colour in classmaps.COLOURS:
        assert colour in present  # in the legend
        assert tuple(np.rint((white + np.array(colour)) / 2).astype(int).tolist()) in present  # and on the image
    assert classmaps.OTHER in present
    assert len(set(classmaps.COLOURS)) == 7
    # The largest other class lies in the last six cells, in the first colour.
    small = classmaps._on_image(explained)
    assert small.shape == (64, 64)
    assert (small[48:, :] == 10).all()
    assert (small[:16, :16] == 0).all()


def test_where_the_answer_stays_the_image_stays(cnn: onnx.ModelProto) -> None:
    model = onnxray.load(cnn, size=16, mean=[120], std=[60], resize="letterbox", labels=list("abcde"))
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    e = onnxray.explain(model, image, "occlusion", patch=2, stride=8, fill="blur")
    places = classmaps._on_image(e)
    assert places.shape == (20, 40)
    clean = e.details["class"]
    assert set(np.unique(places)) <= {-1, clean}, "little is hidden, and nothing in most places"
    (only,) = classmaps.answers(e)
    assert (only.index, only.share) == (clean, 1.0)
    picture = classmaps.picture(e)
    shown = figure.picture(image, 448)
    top = next(
        y
        for y in range(len(picture) - len(shown))
        if np.array_equal(picture[y : y + len(shown), figure.MARGIN + 1 : figure.MARGIN + 1 + shown.shape[1]], shown)
    )
    assert top > 0


def test_segments_and_several_sizes(quarters: onnxray.Model) -> None:
    image = np.full((32, 32, 3), 255, np.uint8)
    labels = np.full((32, 32), -1)
    labels[:8, :8], labels[8:16] = 0, 1
    e = onnxray.explain(quarters, image, "occlusion", segments=labels, fill="zero")
    assert e.details["class_map"][0, 0] == 0
    assert e.details["class_map"][0, 31] == -1
    assert (e.details["class_map"][8:16] == e.details["classes"][1]).all()
    both = onnxray.explain(quarters, image, "occlusion", patch="8,16", stride=8, fill="zero")
    assert both.details["class_map"].shape == (32, 32)
    assert len(classmaps.answers(both)) > 3


def test_a_single_score_has_no_other_answer(parse: Callable[..., onnx.ModelProto]) -> None:
    proto = parse(
        "m (float[N, 1, 8, 8] x) => (float[N, 1] y) { f = Flatten (x) y = MatMul (f, w) }",
        w=np.ones((64, 1), np.float32),
    )
    e = onnxray.explain(proto, np.ones((1, 1, 8, 8), np.float32), "occlusion", 0, patch=4)
    assert not classmaps.has_classes(e)
    assert "classes" not in e.details


def test_the_command_writes_it(run: Run, quarters: onnxray.Model, tmp_path: Path) -> None:
    quarters.save(tmp_path / "m.onnx")
    write(tmp_path / "white.png", np.full((32, 32, 3), 255, np.uint8))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    card = ("--mean", "0", "--std", "255", "--labels", tmp_path / "labels.txt")
    done = run(
        *("explain", tmp_path / "m.onnx", tmp_path / "white.png", *card, "-m", "occlusion,gradient"),
        *(
            "-O",
            "patch=8",
            "-O",
            "stride=8",
            "-O",
            "occlusion:fill=zero",
            "--out",
            tmp_path / "out",
            "--format",
            "classes,npy",
        ),
    )
    assert done.exit_code == 0, done.output
    (image,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]
    assert image["files"] == ["white/occlusion.npy", "white/occlusion-classes.png", "white/gradient.npy"]
    first, second = image["maps"]
    assert "classes" not in second
    assert first["classes"][0] == {"class": 11, "label": "none (11)", "share": 0}
    assert first["classes"][1] == {"class": 10, "label": "thing 10 (10)", "share": pytest.approx(0.375)}
    shown = read(tmp_path / "out" / "white" / "occlusion-classes.png")
    assert shown.shape[0] > 448
    assert shown.shape[1] > 700


def test_what_the_model_does_not_see_is_veiled(quarters: onnxray.Model) -> None:
    photo = np.zeros((64, 128, 3), np.uint8)
    photo[..., 0] = 200
    model = onnxray.load(quarters.proto, size=32, mean=[0], std=[255], order="GRAY", resize="crop", crop_fraction=1.0)
    e = onnxray.explain(model, photo, "occlusion", patch=8, stride=8, fill="zero")
    shown = classmaps.panels(e, 0.6, 224)
    (name, *_) = shown
    picture = shown[name]
    assert (picture[20:60, 5:40, 0] == picture[20:60, 5:40, 1]).all()
    assert (picture[20:60, 100:120, 0] != picture[20:60, 100:120, 1]).any()
    assert {"probability of the explained class with each part hidden", "the part that costs most, hidden"} < {*shown}
