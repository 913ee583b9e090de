"""A site that takes its strongest images from a result of `onnxray top`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from onnxray.cli.tasks.site.view import site_view

_FEW = ("--units", "0-2", "--steps", "1", "--no-diverse", "-q")


@pytest.fixture
def result(run: Callable[..., Result], model: Path, photos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "result"
    found = run("top", model, photos, "--layer", "features", "--layer", "classes", "-o", folder, "-q")
    assert found.exit_code == 0, found.stderr
    return folder


def test_the_units_say_what_a_survey_of_the_site_says(
    run: Callable[..., Result], model: Path, photos: Path, result: Path, tmp_path: Path
) -> None:
    own, given = tmp_path / "own", tmp_path / "given"
    assert run("microscope", model, photos, *_FEW, "-o", own).exit_code == 0
    found = run("microscope", model, "--examples", result, *_FEW, "-o", given)
    assert found.exit_code == 0, found.stderr
    mine, theirs = site_view(given), site_view(own)
    surveyed = [layer.name for layer in mine.layers if layer.numbers]
    assert len(surveyed) == 2
    assert surveyed[0] == "features"
    for layer in mine.layers:
        if layer.numbers:
            other = theirs.by_slug[layer.slug]
            for unit, numbers in layer.numbers["units"].items():
                expected = other.numbers["units"][unit]
                assert [e["image"] for e in numbers["strongest"]] == [e["image"] for e in expected["strongest"]]
                values = [e["value"] for e in expected["strongest"]]
                assert [e["value"] for e in numbers["strongest"]] == pytest.approx(values, rel=1e-5)
                assert numbers["mean"] == pytest.approx(expected["mean"], abs=1e-5)
            sheet = f"layers/{layer.slug}/crops-0.jpg"
            assert (given / sheet).read_bytes() == (own / sheet).read_bytes()
            assert (given / sheet.replace("crops", "heats")).exists() == (layer.name == "features")
    assert [image.name for image in mine.images] == [image.name for image in theirs.images]
    assert json.loads((given / "manifest.json").read_text())["complete"]


def test_images_that_were_moved_are_found_where_images_says(
    run: Callable[..., Result], model: Path, photos: Path, result: Path, tmp_path: Path
) -> None:
    shutil.move(photos, tmp_path / "moved")
    lost = run("microscope", model, "--examples", result, *_FEW, "-o", tmp_path / "site")
    assert lost.exit_code == 1
    assert "give IMAGES" in lost.stderr
    assert len(lost.stderr.strip().splitlines()) == 1
    found = run("microscope", model, tmp_path / "moved", "--examples", result, *_FEW, "-o", tmp_path / "site")
    assert found.exit_code == 0, found.stderr


def test_what_does_not_fit_is_one_line(
    run: Callable[..., Result], model: Path, photos: Path, result: Path, tmp_path: Path
) -> None:
    after = tmp_path / "after"
    assert run("top", model, photos, "--layer", "features", "--after", "-o", after, "-q").exit_code == 0
    cases = [
        (model, photos, "no result of onnxray top"),
        (model, after, "without --after"),
        ("builtin", result, "another model"),
    ]
    for network, folder, said in cases:
        found = run("microscope", network, "--examples", folder, *_FEW, "-o", tmp_path / "site")
        assert found.exit_code == 1
        assert said in found.stderr
        assert len(found.stderr.strip().splitlines()) == 1, found.stderr
        assert not (tmp_path / "site").exists()
