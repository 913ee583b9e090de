"""`onnxray health`: tables, findings in words, pages, other versions, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper

from onnxray.cli.files.images import read, write
from onnxray.engine.survey.health import load_health
from onnxray.tests.engine.survey.test_health import ALWAYS, DEAD, DOUBLE, images, planted


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    path = tmp_path / "planted.onnx"
    onnx.save(planted().proto, path)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The same with another head."""
    proto = onnx.ModelProto()
    proto.CopyFrom(planted().proto)
    for tensor in proto.graph.initializer:
        if tensor.name == "h":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor)[::-1].copy(), "h"))
    path = tmp_path / "other.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for n, pixels in enumerate(images(36)):
        write(tmp_path / "data" / f"{n:02d}.png", pixels)
    return tmp_path / "data"


def test_findings_are_said_and_drawn(run: Callable[..., Result], sick: Path, data: Path) -> None:
    out = sick.parent / "out"
    done = run("health", sick, data, "--mean", "127.5", "--std", "127.5", "-o", out, "-q")
    assert done.exit_code == 0, done.stderr
    assert f"act: 1 of 6 units ({DEAD}) is 0 for every image: dead." in done.stdout
    assert f"act: 1 of 6 units ({ALWAYS}) is above 0 everywhere" in done.stdout
    assert f"act: 2 of 6 units (0, {DOUBLE}) have a double" in done.stdout
    manifest = json.loads((out / "manifest.json").read_text())
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == {*manifest["files"], "manifest.json"}
    assert {"histograms.png", "similarity.png", "health.json", "health.txt"} <= set(manifest["files"])
    assert [entry["kind"] for entry in manifest["findings"]] == ["dead", "always on", "duplicates"]
    assert read(out / "similarity.png").shape[1] >= 680
    found = load_health(out / "result")
    assert json.loads((out / "health.json").read_text()) == json.loads(json.dumps(found.to_mapping(), allow_nan=False))
    assert found.count == 36


def test_versions_are_compared(run: Callable[..., Result], sick: Path, other: Path, data: Path) -> None:
    options = ("--mean", "127.5", "--std", "127.5", "-q")
    out = sick.parent / "out"
    done = run("health", sick, data, "--against", other, "--checkpoint", other, "-o", out, *options)
    assert done.exit_code == 0, done.stderr
    assert "against other.onnx: classes is the first layer with a similarity below 0.9" in done.stdout
    assert "training, each compared with planted.onnx" in done.stdout
    found = load_health(out / "result")
    assert len(found.models) == 3
    np.testing.assert_allclose(found.similarity(1), found.similarity(2))
    same = run("health", sick, data, "--against", sick, "-o", sick.parent / "same", *options, "--json")
    assert json.loads(same.stdout)["others"][0]["path"] == str(sick)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "IMAGES"),
        (("nothing",), "there is no file or folder"),
        (("broken",), "none of the 1 images can be read"),
        (("data", "--layer", "atc"), "act"),
        (("data", "--against", "missing.onnx"), "missing.onnx"),
    ],
)
def test_bad_input_is_one_clear_line(
    run: Callable[..., Result], sick: Path, data: Path, arguments: tuple[str, ...], message: str
) -> None:
    folder = sick.parent
    (folder / "broken").mkdir()
    (folder / "broken" / "0.png").write_bytes(b"no image")
    given = [folder / a if a in ("nothing", "broken", "data") else a for a in arguments]
    done = run("health", sick, *given, "-o", folder / "out", "-q")
    assert done.exit_code != 0
    assert len([line for line in done.stderr.splitlines() if message in line]) == 1, done.stderr


def test_parts_are_merged(run: Callable[..., Result], sick: Path, data: Path) -> None:
    folder, options = sick.parent, ("--mean", "127.5", "--std", "127.5", "-q")
    files = sorted(data.iterdir())
    for name, part in (("whole", files), ("a", files[:20]), ("b", files[20:])):
        assert run("health", sick, *part, *options, "-o", folder / name).exit_code == 0
    done = run("merge", folder / "a", folder / "b", "-o", folder / "merged")
    assert done.exit_code == 0, done.stderr
    whole, merged = load_health(folder / "whole" / "result"), load_health(folder / "merged")
    assert merged.count == 36
    assert [f.units for f in merged.findings()] == [f.units for f in whole.findings()]
    np.testing.assert_array_equal(merged.layer("act").mean, whole.layer("act").mean)
    (folder / "top").mkdir()
    (folder / "top" / "manifest.json").write_text('{"kind": "top"}')
    assert "different commands" in run("merge", folder / "a", folder / "top", "-o", folder / "new").stderr
