"""`explain --trust` and `--against`: the sheet, the text, the manifest; the section of the reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray import models
from onnxray.cli.files.images import read

PHOTO = onnxray.samples()[3]


def test_each_map_has_its_trust(run: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("explain", "builtin", PHOTO, "-m", "grad-cam,guided-backprop", "--trust", "-o", out)
    assert done.exit_code == 0, done.stderr
    assert "trust: green" in done.stderr
    assert "trust: red" in done.stderr
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    maps = {entry["method"]: entry for entry in manifest["images"][0]["maps"]}
    assert maps["grad-cam"]["trust"]["light"] == "green"
    assert maps["guided-backprop"]["trust"]["verdict"] == "red, do not rely on it alone: randomisation"
    assert manifest["options"]["trust"] is True
    text = next(out.rglob("grad-cam-trust.txt")).read_text(encoding="utf-8")
    assert text.startswith("grad-cam, crack (2): trust: green, nothing speaks against it\n")
    # The lights are in the sheet; no map without --trust has one.
    sheet = read(next(out.rglob("sheet.png")))
    assert (sheet == (46, 139, 87)).all(axis=2).sum() >= 100
    assert (sheet == (200, 48, 48)).all(axis=2).sum() >= 100


def test_against_another_model(run: Callable[..., Result], tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(models.path(models.BUILTIN).read_bytes())
    out = tmp_path / "out"
    card = ("--size", "160", "--mean", "114", "--std", "58")
    done = run("explain", other, PHOTO, "--against", other, *card, "-o", out)
    assert done.exit_code == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    against = manifest["images"][0]["maps"][0]["trust"]["against"]
    assert against["model"] == "other.onnx"
    assert against["same"]
    assert against["first_drift"] is None
    assert len(against["layers"]) >= 7


@pytest.mark.parametrize("more", [["--at", "stage4/relu2"], ["--to", "jsonl:out.jsonl"]])
def test_what_trust_does_not_go_with(run: Callable[..., Result], tmp_path: Path, more: list[str]) -> None:
    done = run("explain", "builtin", PHOTO, "--trust", *more)
    assert done.exit_code == 2
    assert "--trust" in done.stderr


def test_no_trust_of_arrays(run: Callable[..., Result], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 160, 160), np.float32))
    done = run("explain", "builtin", tmp_path / "x.npy", "--trust")
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr


def test_the_report_has_a_section(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("report", "builtin", PHOTO, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Can the maps be trusted?" in page
    assert '<i class="lamp green"></i>green' in page
    assert "grad-cam, crack (2): green, nothing speaks against it" in page
