"""`onnxray dream`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result

from onnxray.cli.files.images import read


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_a_grid_of_images_and_objectives(run: Callable[..., Result], model: Path, photos: Path, out: Path) -> None:
    asked = ("--layer", "features", "--class", "green", "--steps", 2, "--octaves", 1, "--jitter", 2)
    done = run("dream", model, photos, "noise", *asked, "--out", out)
    assert done.exit_code == 0
    told = manifest_of(out)
    assert told["complete"]
    names = [(Path(entry["image"]).stem, entry["objective"]) for entry in told["pictures"]]
    wanted = ["layer:features", "logit:green"]
    assert names == [(image, o) for image in ("noise", "ramp", "square", "noise") for o in wanted]
    for entry in told["pictures"]:
        picture, before = (read(out / name) for name in entry["files"])
        assert list(picture.shape[:2]) == entry["size"]
        assert (picture != before).any()
    photo = read(photos / "ramp.png")
    np.testing.assert_array_equal(read(out / told["pictures"][2]["files"][1]), photo)
    assert read(out / "sheet.png").shape[1] > 900


def test_json_and_quiet(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    done = run("dream", model, photo, "--layer", "features", "--steps", 1, "--out", out, "--json", "--quiet")
    assert json.loads(done.stdout)["command"] == "dream"
    assert done.stderr == ""


def test_layers_together(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    asked = ("--layer", "stem", "--layer", "features", "--together", "--weight", 1, "--weight", 0.5, "--steps", 1)
    run("dream", model, photo, *asked, "--out", out)
    (entry,) = manifest_of(out)["pictures"]
    assert "*layer:stem + " in entry["objective"]


def test_a_guide(run: Callable[..., Result], model: Path, photos: Path, out: Path) -> None:
    asked = ("--layer", "features", "--guide", photos / "noise.png", "--steps", 2, "--octaves", 1)
    run("dream", model, photos / "ramp.png", *asked, "--out", out)
    (entry,) = manifest_of(out)["pictures"]
    assert entry["objective"] == "guide:features"
    assert entry["after"] > entry["before"]


ZOOM = ("--layer", "features", "--steps", 2, "--octaves", 1, "--zoom", 5, "--zoom-octaves", 1, "--zoom-steps", 1)


def test_an_endless_zoom(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    run("dream", model, photo, *ZOOM, "--out", out)
    (entry,) = manifest_of(out)["pictures"]
    frames = [name for name in entry["files"] if "-zoom/" in name]
    assert [Path(name).name for name in frames] == [f"{n:04d}.png" for n in range(6)]
    np.testing.assert_array_equal(read(out / frames[0]), read(out / entry["files"][0]))
    film = cv2.VideoCapture(str(out / entry["files"][-1]))
    assert int(film.get(cv2.CAP_PROP_FRAME_COUNT)) == 6
    ok, last = film.read()
    assert ok
    assert last.shape == (40, 56, 3)


def test_a_run_is_continued(run: Callable[..., Result], model: Path, photo: Path, out: Path) -> None:
    asked = ("dream", model, photo, "noise", *ZOOM, "--out", out)
    run(*asked)
    first = manifest_of(out)
    files = [name for entry in first["pictures"] for name in entry["files"]]
    bytes_before = {name: (out / name).read_bytes() for name in files}
    zoom = [name for name in first["pictures"][1]["files"] if "-zoom/" in name]
    # As if it had been killed within the second zoom.
    told = {**first, "complete": False, "pictures": first["pictures"][:1]}
    (out / "manifest.json").write_text(json.dumps(told))
    for name in zoom[3:]:
        (out / name).unlink()
    kept = (out / zoom[1]).stat().st_mtime_ns
    assert run(*asked, "--resume").exit_code == 0
    assert manifest_of(out) == first
    assert {name: (out / name).read_bytes() for name in files} == bytes_before
    assert (out / zoom[1]).stat().st_mtime_ns == kept
    assert "holds another run" in run(*asked).stderr
    assert "holds a run with other options" in run(*asked, "--seed", 1, "--resume").stderr


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((), "nothing is asked for"),
        (("--layer", "featurs"), "nearest: 'features'"),
        (("--class", "gren"), "nearest: 'green'"),
        (("--layer", "features", "--weight", 2), "give --together as well"),
        (("--layer", "features", "--together", "--weight", 2, "--weight", 1), "need as many finite weights"),
        (("--class", "green", "--guide", "none.png"), "a guide is followed in a layer: give --layer"),
        (("--layer", "features", "--guide", "none.png"), "none.png"),
        (("--layer", "features", "--zoom", 2, "--zoom-factor", 0.5), "the factor 1 to 4"),
        (("--layer", "features", "--zoom", 2, "--zoom-turn", 20), "shows empty corners"),
        (("--layer", "features", "--zoom-turn", 3), "--zoom-turn 3.0 has no effect without --zoom: give"),
        (("--layer", "features", "--zoom-steps", 0), "--zoom-steps 0 has no effect without --zoom: give"),
        (("--layer", "features", "--rate", 0), "rate=0 must be more than 0"),
    ],
)
def test_bad_input_is_one_line(
    asked: tuple[object, ...], words: str, run: Callable[..., Result], model: Path, photo: Path, out: Path
) -> None:
    done = run("dream", model, photo, *asked, "--out", out)
    assert words in done.stderr
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
