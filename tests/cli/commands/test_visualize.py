"""`onnxray visualize`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
