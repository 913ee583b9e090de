"""The pose of an explained keypoint on its picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from click.testing import Result

import onnxray
from onnxray.cli.figures.boxes import COLOURS
from onnxray.cli.figures.pose import drawn, shown
from onnxray.cli.files.images import read
from onnxray.engine.detection.shapes import PERSON
from onnxray.engine.targets.kinds.point import Pose


def pose(names: tuple[str, ...] | None = PERSON) -> Pose:
    points = np.zeros((17, 3))
    points[5], points[6], points[0] = (200, 200, 0.9), (200, 400, 0.9), (400, 400, 0.2)
    return Pose(points, names, 5)


def test_points_are_dots_those_of_a_person_joined_the_explained_one_in_its_colour() -> None:
    plain = np.zeros((600, 600, 3), np.uint8)
    picture = drawn(plain, pose())
    assert tuple(picture[200, 400]) == COLOURS[0]
    assert tuple(picture[200, 200]) == COLOURS[1]
    assert picture[200, 200:400].any(axis=-1).all()  # shoulder to shoulder
    assert not picture[390:410, 390:410].any()  # less than 0.3 of the greatest
    bare = drawn(plain, pose(None))
    assert not bare[202, 280:380].any()  # no names: no bones
    assert not plain.any()


def test_of_peaks_below_zero_all_are_shown() -> None:
    assert shown(Pose(np.array([[0, 0, -1.0], [1, 1, -5.0]]), None, 0)).all()


def test_small_pictures_are_enlarged() -> None:
    small = Pose(np.array([[10.0, 20.0, 1.0]]), ("nose",), 0)
    picture = drawn(np.zeros((56, 40, 3), np.uint8), small)
    assert picture.shape == (560, 400, 3)
    assert tuple(picture[100, 200]) == COLOURS[1]


def test_explain_draws_it_and_the_manifest_has_it(
    tmp_path: Path, run: Callable[..., Result], photos: Path, parse: Callable[..., onnx.ModelProto]
) -> None:
    proto = parse(
        """m (float[N, 3, 16, 16] image) => (float[N, 3, 8, 8] heatmaps) {
             c = Conv (image, w)  heatmaps = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c) }""",
        w=np.eye(3, dtype=np.float32)[:, :, None, None],
    )
    file = tmp_path / "pose.onnx"
    onnx.save(proto, file)
    card = {"mean": 0, "std": 255, "resize": "stretch", "labels": ["tail", "nose", "paw"]}
    (tmp_path / "pose.json").write_text(json.dumps(card))
    done = run("explain", file, photos / "ramp.png", "-t", "point:nose", "-m", "gradient", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    (image,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]
    (entry,) = image["maps"]
    assert list(entry["points"]) == card["labels"]
    e = onnxray.explain(file, photos / "ramp.png", "gradient", "point:nose")
    y, x, score = entry["points"]["nose"]
    assert score == e.score
    overlay = read(tmp_path / "out" / "ramp" / "gradient-overlay.png")
    assert overlay.shape[1] >= 560
    factor = overlay.shape[1] // read(photos / "ramp.png").shape[1]
    assert np.abs(overlay[round(y * factor), round(x * factor)].astype(int) - COLOURS[1]).max() < 3
