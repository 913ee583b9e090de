"""`onnxray report`: one file, self-contained, with a slider that its policy allows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import read
from onnxray.tests.cli.chromium import FLAGS, measured, program

TITLES = (
    "Prediction",
    "Preprocessing",
    "Explanations",
    "Can the maps be trusted?",
    "Activations",
    "Strongest units",
    "Layers",
)


@pytest.fixture
def page(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> str:
    done = run("report", model, photo, "-o", tmp_path / "page" / "report.html", "-q")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'page' / 'report.html'}\n"
    return (tmp_path / "page" / "report.html").read_text(encoding="utf-8")


def test_one_file_holds_all(page: str) -> None:
    assert re.findall(r"<h2>(.*?)</h2>", page) == list(TITLES)
    assert not re.search(r"https?://|@import", page)
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    assert all(source.startswith("data:") for source in re.findall(r"url\(([^)]*)\)", page))
    assert all(name.startswith("#section-") for name in re.findall(r'href="([^"]*)"', page))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert str(Path.home()) not in page


def test_it_says_what_another_preparation_would_give(page: str, model: Path, photo: Path) -> None:
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td class=\"right\">(.*?)</td></tr>", page)
    found = {words: (label, share) for words, label, share in rows}
    for words, fields in (("as the card says", {}), ("BGR in place of RGB", {"order": "BGR"})):
        answer = onnxray.predict(model, photo, **fields)
        assert found[words] == (answer.label, f"{100 * answer.probability:.1f} %")


def test_examples_of_a_site_and_of_a_survey(
    run: Callable[..., Result], model: Path, photo: Path, photos: Path, tmp_path: Path
) -> None:
    few = ("--steps", 1, "--picture-size", 32, "--no-diverse", "-q")
    assert run("microscope", model, photos, "-o", tmp_path / "site", "--layer", "features", *few).exit_code == 0
    assert run("top", model, photos, "-o", tmp_path / "top", "--layer", "features", "-q").exit_code == 0
    for folder, optimised in (("site", True), ("top", False)):
        out = tmp_path / f"{folder}.html"
        done = run("report", model, photo, "-o", out, "--examples", tmp_path / folder, "-q")
        assert done.exit_code == 0, done.stderr
        text = out.read_text(encoding="utf-8")
        assert "<b>example 1</b>" in text
        assert ("<b>optimised</b>" in text) == optimised
        assert "square.png" in text


def test_bad_requests_are_one_line(run: Callable[..., Result], model: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("mine")
    for more, words in (
        ((), "exists: choose another file or give --force"),
        (("--force", "--examples", tmp_path / "none"), "is no folder"),
        (("--force", "--examples", photo.parent), "top"),
        (("--force", "--layer", "featurs"), "nearest: 'features'"),
    ):
        done = run("report", model, photo, "-o", out, "-q", *more)
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert out.read_text() == "mine"


def test_python_takes_pixels(model: Path, photo: Path, tmp_path: Path) -> None:
    out = onnxray.report(model, read(photo), out=tmp_path / "a.html")
    assert out == tmp_path / "a.html"
    assert "Strongest units" in out.read_text(encoding="utf-8")
    with pytest.raises(onnxray.OnnxrayError, match="exists"):
        onnxray.report(model, np.asarray(read(photo)), out=out)


@pytest.mark.slow
def test_the_slider_moves_the_maps_and_the_page_fits(page: str, tmp_path: Path) -> None:
    import subprocess

    for found in measured(tmp_path / "page", "report.html", tmp_path / "profile"):
        assert found["page"] <= found["width"]
        assert found["outside"] == []
    command = [program(), *FLAGS, "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'other'}"]
    command += ["--virtual-time-budget=4000", "--dump-dom", (tmp_path / "page" / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "--mix: 0.7" in done.stdout
    assert "CONSOLE" not in done.stderr
    assert json.dumps(TITLES[0])[1:-1] in done.stdout
