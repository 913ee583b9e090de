"""`onnxray predict` of detectors: what is printed, the JSON, the table and the picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from onnxray.cli.files.images import read, write
from onnxray.cli.main import main
from onnxray.engine.predict import detect
from onnxray.tests.engine.detection import families, shaped


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("boxes")
    families.yolo8().model.save(folder / "net.onnx")
    card = {"std": 255, "labels": list("abcde"), "detector": {"threshold": 0.15}}
    (folder / "net.card.json").write_text(json.dumps(card))
    photo = np.random.default_rng(5).integers(0, 256, (120, 200, 3)).astype(np.uint8)
    write(folder / "photo.png", photo)
    return folder / "net.onnx", folder / "photo.png"


def test_boxes_are_printed_and_drawn(files: tuple[Path, Path], tmp_path: Path) -> None:
    net, photo = map(str, files)
    done = CliRunner().invoke(main, ["predict", net, photo, "-o", str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 0, done.output
    found = detect(net, read(photo))
    assert len(found) > 2
    best = found[0]
    edges = ",".join(f"{edge:.0f}" for edge in best.box)
    assert f"{100 * best.score:6.2f} %  {best.name}  at {edges}" in done.output
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found)
    np.testing.assert_allclose([float(r["score"]) for r in rows], found.scores, rtol=1e-6)
    np.testing.assert_allclose([[float(r[k]) for k in ("y0", "x0", "y1", "x1")] for r in rows], found.boxes, rtol=1e-5)
    picture = read(tmp_path / "out" / "photo-boxes.png")
    assert picture.shape == (360, 600, 3)


def test_json_has_every_box_and_why(files: tuple[Path, Path]) -> None:
    net, photo = map(str, files)
    done = CliRunner().invoke(main, ["predict", net, photo, "--json", "--quiet", "--detector", "threshold=0.2,nms=0.3"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["boxes"].startswith("one-output: ")
    found = detect(net, read(photo), detector={"threshold": 0.2, "nms": 0.3})
    (image,) = answer["images"]
    assert [box["candidate"] for box in image["boxes"]] == found.candidates.tolist()
    assert {"class", "label", "score", "box", "element", "level", "cell"} <= image["boxes"][0].keys()


def test_no_box_says_the_best_candidate(files: tuple[Path, Path]) -> None:
    net, photo = map(str, files)
    done = CliRunner().invoke(main, ["predict", net, photo, "--quiet", "--detector", "threshold=1"])
    assert done.exit_code == 0, done.output
    assert "no box; the best candidate has" in done.output


def test_a_key_of_the_detector_that_is_none(files: tuple[Path, Path]) -> None:
    net, photo = map(str, files)
    done = CliRunner().invoke(main, ["predict", net, photo, "--detector", "tresholds=1"])
    assert done.exit_code
    assert "nearest: 'threshold'" in done.output


def test_explanations_of_boxes_are_drawn_with_them(files: tuple[Path, Path], tmp_path: Path) -> None:
    net, photo = map(str, files)
    done = CliRunner().invoke(main, ["explain", net, photo, "-o", str(tmp_path / "out"), "-t", "box:top:2"])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out" / "photo"
    names = {file.name for file in folder.iterdir()}
    assert {"hires-cam-box-overlay.png", "hires-cam-box-2-overlay.png", "sheet.png"} <= names
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    maps = manifest["images"][0]["maps"]
    found = detect(net, read(photo))
    assert [m["box"]["candidate"] for m in maps] == found.candidates[:2].tolist()
    for entry in maps:
        heat = np.clip(np.load(tmp_path / "out" / entry["files"][0]), 0, None)
        assert heat.sum() > 0
        assert 0 <= entry["box"]["heat_inside"] <= 1
    assert f"{100 * maps[0]['box']['heat_inside']:.0f} % of the heat inside the box" in done.output
    overlay = read(folder / "hires-cam-box-overlay.png")
    y0, x0, y1, _ = (round(3 * edge) for edge in found[0].box)
    # A thick line along the left side.
    assert (overlay[(y0 + y1) // 2, x0 : x0 + 3] != overlay[(y0 + y1) // 2, x0 + 12]).any()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_masks_are_written_and_points_are_printed(tmp_path: Path) -> None:
    from pycocotools import mask as coco

    write(tmp_path / "photo.png", np.random.default_rng(5).integers(0, 256, (120, 200, 3)).astype(np.uint8))
    for name, make in (("seg", shaped.segmenting), ("pose", shaped.posing)):
        make().save(tmp_path / f"{name}.onnx")
        card = {"std": 255, "detector": {"threshold": 0.3}}
        (tmp_path / f"{name}.card.json").write_text(json.dumps(card))
    photo, run = str(tmp_path / "photo.png"), CliRunner().invoke
    done = run(main, ["predict", str(tmp_path / "seg.onnx"), photo, "--json"])
    boxes = json.loads(done.output)["images"][0]["boxes"]
    found = detect(str(tmp_path / "seg.onnx"), read(photo))
    assert len(boxes) == len(found)
    for box, d in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(coco.decode(box["mask"]).astype(bool), d.mask.pixels)
        assert box["area"] == d.mask.pixels.sum()
    done = run(main, ["predict", str(tmp_path / "seg.onnx"), photo])
    assert f"mask of {boxes[0]['area']} pixels" in done.output
    done = run(main, ["predict", str(tmp_path / "pose.onnx"), photo])
    first = detect(str(tmp_path / "pose.onnx"), read(photo)).to_mapping()[0]["points"]
    seen = "; ".join(f"{p['name']} {p['y']:.0f},{p['x']:.0f}" for p in first if p["score"] >= 0.5)
    assert seen in done.output
