"""`onnxray explain --to`, `--when`, `--part`: records of files, folders and videos, without and with a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read, write
from onnxray.cli.files.video import Capture, VideoWriter

Run = Callable[..., Result]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def mask(photo: Path, tmp_path: Path) -> Path:
    pixels = np.zeros_like(read(photo))
    pixels[: len(pixels) // 2] = 255
    write(tmp_path / "mask.png", pixels)
    return tmp_path / "mask.png"


def test_a_folder_into_lines(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    to = tmp_path / "all.jsonl"
    done = run("explain", model, photos, "--to", to, "-m", "gradient,grad-cam", "--json")
    assert done.exit_code == 0, done.stderr
    found = lines(to)
    assert json.loads(done.stdout) == {"done": len(found), "failed": 0, "explained": len(found), "alarmed": False}
    assert [r["path"] for r in found] == sorted(map(str, photos.glob("*.png")))
    for record in found:
        for entry in record["maps"]:
            e = onnxray.explain(model, record["path"], entry["method"])
            assert (entry["score"], entry["label"]) == (e.score, e.label)
    # The same run again repeats no line.
    assert run("explain", model, photos, "--to", to, "-m", "gradient,grad-cam").exit_code == 0
    assert len(lines(to)) == len(found)
    assert not Path("onnxray-explain").exists()


def test_a_video_into_a_video_and_lines(run: Run, photos: Path, tmp_path: Path) -> None:
    frames = [read(path)[:160, :160] for path in onnxray.samples()[:5]]
    with VideoWriter(tmp_path / "clip.mp4", 5.0) as video:
        for frame in frames:
            video.add(frame)
    to = ("--to", f"mp4:{tmp_path / 'out.mp4'}#rate=5", "--to", f"jsonl:{tmp_path / 'out.jsonl'}")
    done = run("explain", "builtin", tmp_path / "clip.mp4", *to)
    assert done.exit_code == 0, done.stderr
    found = lines(tmp_path / "out.jsonl")
    assert [r["path"].rpartition("#")[2] for r in found] == [str(n) for n in range(len(found))]
    assert [round(5 * r["seconds"]) for r in found] == list(range(5))
    with Capture(str(tmp_path / "out.mp4")) as made:
        assert [made.skip() for _ in range(6)] == [True] * 5 + [False]


def test_a_rule_and_a_part_with_a_manifest(run: Run, model: Path, photos: Path, mask: Path, tmp_path: Path) -> None:
    labels = {p.name: onnxray.predict(model, p).label for p in photos.glob("*.png")}
    write(photos / "noise.png", np.random.default_rng(0).integers(0, 256, read(mask).shape, np.uint8))
    labels["noise.png"] = onnxray.predict(model, photos / "noise.png").label
    label, out = labels["ramp.png"], tmp_path / "out"
    asked = ("--when", f"label == '{label}'", "--part", mask, "--mm-per-pixel", 0.5, "--format", "npy")
    done = run("explain", model, photos / "ramp.png", photos / "noise.png", "-o", out, *asked)
    assert done.exit_code == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["when"] == f"label == '{label}'"
    for entry in manifest["images"]:
        name = Path(entry["path"]).name
        assert (entry["prediction"]["label"], entry["explained"]) == (labels[name], labels[name] == label)
        assert len(entry["maps"]) == entry["explained"]
        for found in entry["maps"]:
            e = onnxray.explain(model, entry["path"])
            heat = np.maximum(e.heatmap, 0)
            half = heat[: len(heat) // 2].sum() / heat.sum()
            assert found["measures"]["part"]["share_of_heat"] == pytest.approx(half, rel=1e-5)
            assert found["measures"]["area_mm2"] == found["measures"]["area"] / 4
    # Another rule is another run.
    assert run("explain", model, photos / "ramp.png", "-o", out, "--resume").exit_code == 1


def test_unreadable_images_fail_alone(run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "in")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    done = run("explain", model, tmp_path / "in", "--to", tmp_path / "x.jsonl")
    assert done.exit_code == 1
    states = {Path(r["path"]).name: r["status"] for r in lines(tmp_path / "x.jsonl")}
    assert states.pop("broken.png") == "failed"
    assert set(states.values()) == {"done"}
    assert "1 of" in done.stderr


def test_an_image_of_another_size_than_the_part_is_named(
    run: Run, model: Path, photos: Path, mask: Path, tmp_path: Path
) -> None:
    done = run(
        "explain", model, photos / "ramp.png", photos / "noise.png", "--part", mask, "--to", tmp_path / "x.jsonl"
    )
    assert done.exit_code == 1
    assert "noise.png: the mask of --part has 56 x 40 pixels, the image 20 x 32" in done.stderr


def test_drift_of_a_folder(run: Run, tmp_path: Path) -> None:
    images = [*onnxray.samples()[:4], *[tmp_path / f"dark-{n}.png" for n in range(3)]]
    for path in images[4:]:
        write(path, read(onnxray.samples()[0]) // 5)
    asked = ("--reference", 4, "--drift-window", 3, "--alarm", 0.5)
    done = run("explain", "builtin", *images, "--to", tmp_path / "x.jsonl", *asked)
    assert done.exit_code == 3, done.stderr
    found = [record["drift"] for record in lines(tmp_path / "x.jsonl")]
    assert found[3] == {"layer": "stage1/relu", "reference": 4}
    assert [d["alarm"] for d in found[4:]] == [[], [], ["psi"]]


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (("--to", "x.jsonl", "--format", "npy"), 2, "--format has no meaning with --to"),
        (("--to", "x.jsonl", "-o", "out"), 2, "--out has no meaning with --to"),
        (("--to", "-", "--json"), 2, "both write to stdout"),
        (("--to", "mqt:x"), 1, "no sink named 'mqt'"),
        (("--reference", "3"), 2, "--reference is about runs with --to"),
        (("--prometheus", "9108"), 2, "--prometheus is about runs with --to"),
        (("--when", "score >"), 1, "is no expression"),
        (("--when", "score > 1", "--range", "shared"), 1, "--range shared looks at all images"),
    ],
)
def test_wrong_usage_is_one_line(
    run: Run, model: Path, photo: Path, more: tuple[str, ...], code: int, says: str
) -> None:
    done = run("explain", model, photo, *more)
    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("wrong", [("--when", "scores >"), ("--when", "age > 3"), ("--part", "nowhere.png")])
def test_what_is_wrong_leaves_no_folder(
    run: Run, model: Path, photo: Path, tmp_path: Path, wrong: tuple[str, str]
) -> None:
    done = run("explain", model, photo, *wrong, "-o", tmp_path / "out")
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_rules_are_about_images(run: Run, tmp_path: Path, parse: Any) -> None:
    proto = parse('<ir_version: 8, opset_import: ["": 17]> g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }')
    onnxray.save(onnxray.load(proto), tmp_path / "table.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    done = run("explain", tmp_path / "table.onnx", tmp_path / "x.npy", "--when", "score > 1")
    assert (done.exit_code, "are about images" in done.stderr) == (2, True), done.stderr
