"""`onnxray novelty`: a memory of good images, scores of others, pictures, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read, write
from onnxray.tests.engine.novelty.test_memory import GOOD, SIDE, surface

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good/`, `test/` with a defect and a good part, and `memory.npz`."""
    place = tmp_path_factory.mktemp("parts")
    for name, images in (("good", GOOD), ("test", [surface(99, defect=True), surface(96)])):
        (place / name).mkdir()
        for number, image in enumerate(images):
            write(place / name / f"{number:02}.png", image)
    onnxray.Novelty.fit("builtin", place / "good", rows=60).save(place / "memory.npz")
    return place


def test_fit_writes_what_python_does(folder: Path, run: Run, tmp_path: Path) -> None:
    done = run("novelty", "fit", "builtin", folder / "good", "--rows", "60", "-o", tmp_path / "memory.npz")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "memory.npz").read_bytes() == (folder / "memory.npz").read_bytes()
    assert "whitened of 12 good images, 3 held out" in done.stdout
    assert "warning: too few images: 12 good images in the memory" in done.stderr
    again = run("novelty", "fit", "builtin", folder / "good", "-o", tmp_path / "memory.npz")
    assert again.exit_code == 1
    assert "exists: choose another name or give --force" in again.stderr


def test_score(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--memory", folder / "memory.npz", "-o", out)
    done = run("novelty", "score", "builtin", folder / "test", *options)
    assert done.exit_code == 0, done.output
    assert "like the good images" in done.stdout
    manifest = json.loads((out / "manifest.json").read_text())
    bad, good = manifest["images"]
    assert bad["novel"]
    assert not good["novel"]
    memory = onnxray.Novelty.load(folder / "memory.npz", "builtin")
    found = memory.score(folder / "test" / "00.png")
    assert bad["score"] == found.score
    assert bad["region"]["box"] == list(found.box)
    assert bad["answer"]["label"] == found.answer.label
    assert bad["nearest"]["image"] == memory.source_of(found.row)[0]
    assert np.array_equal(np.load(out / "00" / "map.npy"), found.map)
    assert np.array_equal(read(out / "00" / "mask.png")[..., 0] > 0, found.mask)
    assert read(out / "00" / "novelty.png").shape[1] > 2 * SIDE
    assert not any(str(folder / "good") in path.read_text("latin-1") for path in out.glob("manifest.json"))
    resumed = run("novelty", "score", "builtin", folder / "test", *options, "--resume", "--json")
    assert json.loads(resumed.stdout)["images"] == manifest["images"]


def test_the_picture_does_not_depend_on_where_the_image_lies(folder: Path, run: Run, tmp_path: Path) -> None:
    made = []
    for name in ("a", "another"):
        (tmp_path / name).mkdir()
        image = tmp_path / name / "00.png"
        image.write_bytes((folder / "test" / "00.png").read_bytes())
        out = tmp_path / f"{name}-out"
        options = ("--memory", folder / "memory.npz", "-o", out, "-q")
        assert run("novelty", "score", "builtin", image, *options).exit_code == 0
        made.append((out / "00" / "novelty.png").read_bytes())
    assert made[0] == made[1]


def test_whole_images_have_no_map(folder: Path, run: Run, tmp_path: Path) -> None:
    memory = tmp_path / "knn.npz"
    assert run("novelty", "fit", "builtin", folder / "good", "--method", "knn", "-o", memory, "-q").exit_code == 0
    out = tmp_path / "out"
    done = run("novelty", "score", "builtin", folder / "test", "--memory", memory, "-o", out, "-q")
    assert done.exit_code == 0, done.output
    entry = json.loads((out / "manifest.json").read_text())["images"][0]
    assert entry["files"] == ["00/novelty.png"]
    assert "region" not in entry


def test_python_takes_paths(folder: Path) -> None:
    memory = onnxray.Novelty.load(folder / "memory.npz", "builtin")
    several = memory.score(folder / "test")
    assert [found.novel for found in several] == [True, False]
    assert memory.score([str(folder / "test" / "00.png")])[0].score == several[0].score
    assert memory.score(surface(99, defect=True)).score == several[0].score


def test_compile(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "watched.onnx"
    options = ("--novelty", folder / "memory.npz", "-o", out, "-q")
    done = run("compile", "builtin", *options)
    assert done.exit_code == 0, done.output
    assert "novelty by whitened at stage2/relu2, stage3/relu2" in done.stdout
    both = onnxray.load(out)
    assert [v.name for v in both.outputs][-3:] == ["saliency_map", "novelty_score", "anomaly_map"]
    alone = run("compile", "builtin", "--method", "none", *options, "--force", "--json")
    assert json.loads(alone.stdout)["method"] is None
    assert [v.name for v in onnxray.load(out).outputs][-2:] == ["novelty_score", "anomaly_map"]
    for_anomalib = ("--method", "none", "--novelty-outputs", "anomalib", "--preprocess", "UNIT", "--force")
    assert run("compile", "builtin", *for_anomalib, *options).exit_code == 0
    outputs = onnxray.load(out).outputs
    assert [str(v.name) for v in outputs] == ["pred_score", "pred_label", "anomaly_map", "pred_mask"]
    for arguments, said in (
        (("--novelty-outputs", "anomalib", *options[:2]), "give novelty and no method"),
        (("--method", "none"), "neither a method nor a memory was given"),
        (("--method", "none", "--target", "crack", *options[:2]), "leave out layer, target and options"),
        (("--visualize", "stage2/relu2:0", *options[:2]), "explains nothing"),
    ):
        refused = run("compile", "builtin", *arguments, "-o", tmp_path / "no.onnx")
        assert refused.exit_code == 1
        assert said in refused.stderr


def test_the_page_knows_the_threshold(folder: Path) -> None:
    from onnxray.cli.pages.browser_page import page

    source = onnxray.load("builtin")
    memory = onnxray.Novelty.load(folder / "memory.npz", source)
    made = onnxray.compile(source, novelty=memory, preprocess="HWC", normalize="uint8")
    facts = json.loads(page(made, source, "parts").split('id="facts">')[1].split("</script>")[0])
    assert facts["novelty"]["threshold"] == memory.calibration.threshold
    assert facts["novelty"]["map"] is True


def test_rules_know_the_novelty(folder: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("simpleeval")
    memory = folder / "memory.npz"
    threshold = onnxray.Novelty.load(memory, "builtin").calibration.threshold
    rule = ("--when", f"novelty > {threshold}")
    out = tmp_path / "out"
    done = run("explain", "builtin", folder / "test", "--memory", memory, *rule, "-o", out, "-q")
    assert done.exit_code == 0, done.output
    bad, good = json.loads((out / "manifest.json").read_text())["images"]
    assert (bad["explained"], good["explained"]) == (True, False)
    assert bad["prediction"]["novelty"] > threshold >= good["prediction"]["novelty"]
    unknown = run("explain", "builtin", folder / "test", *rule, "-o", tmp_path / "x")
    assert "no name of a rule named 'novelty'" in unknown.stderr
    alone = run("explain", "builtin", folder / "test", "--memory", memory, "-o", tmp_path / "y")
    assert "--memory has no effect without --when" in alone.stderr


def test_rules_say_what_speaks_against_the_novelty(folder: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("simpleeval")
    write(tmp_path / "small.png", surface(96)[:80])
    asked = ("builtin", tmp_path / "small.png", folder / "test" / "01.png", "--memory", folder / "memory.npz")
    for rule in ("novelty >= 0", "novelty < 0"):
        for command, to in (("predict", ("--json",)), ("explain", ("--json", "-o", tmp_path / rule[-4:]))):
            done = run(command, *asked, "--when", rule, *to)
            assert done.exit_code == 0, done.output
            assert done.stderr.count("warning: novelty: the image has") == 1
            small, usual = json.loads(done.stdout)["images"]
            known = [entry.get("prediction", entry) for entry in (small, usual)]
            assert "all good ones had" in known[0]["warnings"][0]
            assert "warnings" not in known[1]


def test_bad_input_has_one_line(folder: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    memory = folder / "memory.npz"
    proto = onnxray.load("builtin").proto
    proto.producer_name = "another"
    onnx.save(proto, tmp_path / "other.onnx")
    (tmp_path / "two").mkdir()
    for number in range(2):
        write(tmp_path / "two" / f"{number}.png", GOOD[number])
    write(tmp_path / "small.png", np.zeros((40, 80, 3), np.uint8))
    out = ("-o", tmp_path / "x")
    cases = [
        (("fit", "builtin", tmp_path / "empty", *out), "empty"),
        (
            ("fit", "builtin", tmp_path / "two", *out),
            "a memory takes 5 good images at least, and there are 2: give more",
        ),
        (("fit", "builtin", folder / "good", "--layer", "stage9", *out), "stage9"),
        (("score", tmp_path / "other.onnx", folder / "test", "--memory", memory, *out), "a memory of another model"),
        (("score", "builtin", folder / "test", "--memory", tmp_path / "no.npz", *out), "there is no memory"),
        (("score", "builtin", tmp_path / "empty", "--memory", memory, *out), "empty"),
    ]
    for arguments, said in cases:
        done = run("novelty", *arguments, "-q")
        assert done.exit_code == 1, (arguments, done.output)
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, lines
        assert said in lines[0]
    done = run("novelty", "score", "builtin", tmp_path / "small.png", "--memory", memory, *out)
    assert done.exit_code == 0
    assert "the image has 80x40 pixels, all good ones had 96x96" in done.stderr
