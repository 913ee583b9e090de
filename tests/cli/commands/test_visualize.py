"""`onnxray visualize`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result

from onnxray.cli.files.images import read
from onnxray.engine.optimize.objective import OBJECTIVES
from onnxray.engine.optimize.optimiser import OPTIMISERS
from onnxray.engine.optimize.parametrisation import PARAMETRISATIONS
from onnxray.engine.optimize.regulariser import REGULARISERS
from onnxray.engine.optimize.transform import TRANSFORMS


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_units_and_classes(run: Callable[..., Result], model: Path, out: Path) -> None:
    asked = ("--layer", "features", "--channel", "0-1", "--channel", 5, "--neuron", "3,1,2", "--class", "green")
    done = run("visualize", model, *asked, "--steps", 3, "--out", out)
    assert done.exit_code == 0
    told = manifest_of(out)
    names = ["channel:features:0", "channel:features:1", "channel:features:5", "neuron:features:3,1,2", "logit:green"]
    assert [entry["objective"] for entry in told["pictures"]] == names
    assert told["complete"]
    for entry in told["pictures"]:
        picture, array = (out / name for name in entry["files"])
        shown = np.rint(np.load(array).transpose(1, 2, 0) * 255)
        np.testing.assert_array_equal(read(picture), shown)
        assert {"before_activation", "after_activation", "steps"} <= entry.keys()
    assert read(out / "sheet.png").shape[1] > 600


def test_the_size_is_the_pictures(run: Callable[..., Result], model: Path, out: Path) -> None:
    run("visualize", model, "--layer", "features", "--channel", 2, "--steps", 1, "--size", "24x40", "--out", out)
    (entry,) = manifest_of(out)["pictures"]
    assert entry["size"] == [24, 40]


def test_parts_by_their_texts(run: Callable[..., Result], model: Path, out: Path) -> None:
    parts = ("--parametrisation", "pixels:0.02", "--optimiser", "sgd:rate=0.1", "--regulariser", "tv:2")
    parts += ("--transform", "jitter:2", "--transform", "noise", "--schedule", "cosine", "--views", 2)
    done = run("visualize", model, "--objective", "logit:red - 0.5*layer:stem", *parts, "--steps", 2, "--out", out)
    assert done.exit_code == 0
    options = manifest_of(out)["options"]
    assert options["parametrisation"] == "pixels:deviation=0.02"
    assert options["transforms"] == ["jitter:pixels=2.0", "noise:deviation=0.02"]
    assert options["regularisers"] == ["tv:weight=2.0"]


def test_a_run_is_continued(run: Callable[..., Result], model: Path, out: Path) -> None:
    asked = ("visualize", model, "--layer", "features", "--channel", "0-2", "--steps", 2, "--out", out)
    run(*asked)
    first = manifest_of(out)
    kept = out / first["pictures"][0]["files"][0]
    before = kept.stat().st_mtime_ns
    (out / first["pictures"][1]["files"][1]).unlink()
    assert run(*asked, "--resume").exit_code == 0
    assert manifest_of(out) == first
    assert kept.stat().st_mtime_ns == before
    assert "holds another run" in run(*asked).stderr
    other = run(*asked[:-2], "--seed", 1, "--out", out, "--resume")
    assert "holds a run with other options" in other.stderr


def test_the_list_names_every_part(run: Callable[..., Result]) -> None:
    listed = run("visualize", "--list").stdout
    for registry in (OBJECTIVES, PARAMETRISATIONS, TRANSFORMS, OPTIMISERS, REGULARISERS):
        for name in registry.all():
            assert f"  {name}:" in listed


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((), "nothing is asked for"),
        (("--channel", 3), "name it with --layer"),
        (("--layer", "featurs"), "nearest: 'features'"),
        (("--layer", "features", "--channel", "0-8"), "has channels 0 to 7"),
        (("--layer", "features", "--neuron", "1,x"), "is not CHANNEL,Y,X"),
        (("--class", "gren"), "nearest: 'green'"),
        (("--layer", "features", "--direction", "none.npy"), "'none.npy' cannot be read"),
        (("--class", "red", "--transform", "jiter"), "nearest: 'jitter'"),
        (("--layer", "flat", "--channel", "0", "--size", "8", "--steps", "1"), ""),
    ],
)
def test_bad_input_is_one_line(
    asked: tuple[object, ...], words: str, run: Callable[..., Result], model: Path, out: Path
) -> None:
    done = run("visualize", model, *asked, "--out", out)
    assert words in done.stderr
    if words:
        assert done.exit_code == 1
        assert len(done.stderr.strip().splitlines()) == 1


def test_beginning_with_an_image(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    asked = ("--layer", "features", "--channel", 1, "--steps", 3, "--size", 24)
    done = run("visualize", model, *asked, "--image", photo, "--mask", photo, "--keep", 2, "--out", out)
    assert done.exit_code == 0
    assert manifest_of(out)["pictures"][0]["objective"] == "channel:features:1 + 2*features:features"


@pytest.mark.parametrize("objective", ["features:stem", "gram:stem"])
def test_an_images_own_features(
    objective: str, run: Callable[..., Result], model: Path, photo: Path, out: Path
) -> None:
    asked = ("--objective", objective, "--steps", 2, "--out", out)
    assert run("visualize", model, *asked, "--reference", photo).exit_code == 0
    assert "give one with" in run("visualize", model, *asked, "--force").stderr


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_how_it_came_about(kind: str, run: Callable[..., Result], model: Path, out: Path) -> None:
    run("visualize", model, "--class", "red", "--steps", 6, "--history", kind, "--every", 2, "--out", out)
    (entry,) = manifest_of(out)["pictures"]
    assert entry["files"][-1] == f"logit-red.{kind}"
    assert (out / f"logit-red.{kind}").stat().st_size > 500


def test_the_spectrum_of_a_folder(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    asked = ("--class", "red", "--steps", 2, "--out", out)
    done = run("visualize", model, *asked, "--spectrum", photo.parent)
    assert done.exit_code == 0
    told = manifest_of(out)
    assert told["options"]["parametrisation"].startswith("maco:spectrum=")
    assert told["pictures"][0]["files"][-1] == "logit-red-where.png"
    assert run("visualize", model, *asked, "--parametrisation", "maco", "--force").exit_code == 0
    empty = photo.parent / "empty"
    empty.mkdir()
    assert "has no image in it" in run("visualize", model, *asked, "--spectrum", empty, "--force").stderr


def test_checkpoints_in_one_row(run: Callable[..., Result], model: Path, out: Path) -> None:
    later = model.with_name("later.onnx")
    later.write_bytes(model.read_bytes())
    asked = ("--layer", "features", "--channel", "0-1", "--steps", 2, "--mean", 127.5, "--std", 127.5)
    done = run("visualize", model, *asked, "--checkpoints", later, "--out", out)
    assert done.exit_code == 0
    told = manifest_of(out)
    assert [(e["number"], e["checkpoint"]) for e in told["pictures"]] == [
        (0, "small"), (1, "small"), (2, "later"), (3, "later"),
    ]  # fmt: skip
    one, two = (np.load(out / told["pictures"][n]["files"][1]) for n in (0, 2))
    np.testing.assert_array_equal(one, two)


def test_images_of_a_dataset_next_to_them(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    import onnxray
    from onnxray.cli.files.images import write
    from onnxray.engine.preprocess.image import find_card, prepare

    others = [write(photo.with_name(f"{n}.png"), np.full((20, 20, 3), n, np.uint8)) for n in (10, 200)]
    asked = ("--layer", "features", "--channel", 3, "--class", "green", "--steps", 1)
    # Of the same content as another image, which counts once.
    (photo.parent / "zz-copy.png").write_bytes(photo.read_bytes())
    done = run("visualize", model, *asked, "--on", photo.parent / "*.png", "--out", out)
    assert done.exit_code == 0
    opened = onnxray.load(model)
    values = {}
    for path in (photo, *others):
        x = prepare(read(path), find_card(opened)).tensor
        got = onnxray.activations(opened, x, ["joined", "logits"])
        values[str(path)] = (float(got["joined"][0, 3].mean()), float(got["logits"][0, 1]))
    for entry in manifest_of(out)["examples"]:
        wanted = sorted(values, key=lambda p: -values[p][entry["number"]])
        assert [image["path"] for image in entry["images"]] == wanted
        assert entry["images"][0]["value"] == pytest.approx(values[wanted[0]][entry["number"]], rel=1e-4)
    done = run("visualize", model, *asked, "--minimise", "--on", photo.parent / "*.png", "--out", out, "--force")
    assert done.exit_code == 0
    for entry in manifest_of(out)["examples"]:
        wanted = sorted(values, key=lambda p: values[p][entry["number"]])
        assert [image["path"] for image in entry["images"]] == wanted


def test_units_that_do_not_depend_on_the_image_are_named(run: Callable[..., Result], model: Path, out: Path) -> None:
    proto = onnx.load(model)
    (weights,) = (w for w in proto.graph.initializer if w.name == "w1")
    array = onnx.numpy_helper.to_array(weights).copy()
    array[0] = 0
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    dead = model.with_name("dead.onnx")
    onnx.save(proto, dead)
    done = run("visualize", dead, "--layer", "stem", "--channel", "0-1", "--steps", 9, "--out", out)
    assert done.exit_code == 0
    assert "channel:stem:0 does not depend on the image: its gradient was 0 in every step" in done.stderr
    assert [entry["depends_on_the_image"] for entry in manifest_of(out)["pictures"]] == [False, True]


def test_objectives_that_no_image_can_be_scored_by_are_refused_before_pictures_are_made(
    run: Callable[..., Result], model: Path, photo: Path, out: Path
) -> None:
    asked = ("--objective", "features:stem", "--reference", photo, "--on", photo, "--steps", 1)
    done = run("visualize", model, *asked, "--out", out)
    assert "have no examples in a dataset: leave the images out" in done.stderr
    assert not out.exists()
