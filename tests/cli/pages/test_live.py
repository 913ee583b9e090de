"""The live page of a site: opened from disk in Chromium it explains a photo as Python does; what cannot be shown."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import write
from onnxray.cli.pages.live import RUNTIMES
from onnxray.cli.tasks.site.folder import LIVE_FACTS
from onnxray.engine.preprocess.find import find_card
from onnxray.engine.preprocess.image import prepare
from onnxray.tests.cli.chromium import measured
from onnxray.tests.cli.commands.javascript import modules, program

HERE = Path(__file__).parent
_LIMITS = ("--units", "0-3", "--steps", "1", "--no-diverse", "-q")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder that looks like the npm package."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in RUNTIMES["wasm"]:
        (folder / "dist" / name).write_text(f"// {name}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["crop", "letterbox"])
def test_from_disk_it_explains_a_photo_as_python_does(
    run: Callable[..., Result], model: Path, tmp_path: Path, resize: str
) -> None:
    node, chromium = program("node"), program("chromium", "chromium-browser", "google-chrome")
    installed = modules("onnxruntime-web", "playwright-core") / "node_modules"
    photo = np.random.default_rng(3).integers(0, 256, (90, 140, 3)).astype(np.uint8)
    photo[20:60, 30:90] = (20, 40, 220)
    write(tmp_path / "photo.png", photo)
    site, web = tmp_path / "site", installed / "onnxruntime-web"
    made = run("microscope", model, *_LIMITS, "--live", web, "--resize", resize, "-o", site)
    assert made.exit_code == 0, made.stderr
    url = (site / "live" / "index.html").as_uri()
    command = [node, HERE / "live.mjs", installed, chromium, url, tmp_path / "photo.png", "2", "features", "1"]
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert not found["errors"]
    assert all(address.startswith(("file:", "blob:", "data:")) for address in found["asked"]), found["asked"]
    assert [found[part]["state"] for part in ("first", "second", "third")] == ["done"] * 3, found

    # A pixel of a scaled image may be rounded to its neighbour: 1 of 255.
    source = onnxray.load(model, resize=resize)
    answer = onnxray.predict(source, photo)
    for shown, target in ((found["first"], "predicted"), (found["second"], 2)):
        expected = onnxray.explain(source, photo, "grad-cam", target).heatmap
        assert shown["size"] == list(photo.shape[:2])
        np.testing.assert_allclose(np.reshape(shown["cam"], expected.shape), expected, atol=2e-3 * expected.max())
        assert shown["answer"] == answer.label
    second = found["second"]
    assert (second["layer"], second["unit"]) == ("features", "1")
    assert (site / "live" / second["address"]).is_file()
    prepared = prepare(photo, find_card(source))
    value = onnxray.activations(source, prepared.tensor, ["features"])["features"][0, 1]
    heat = prepared.geometry.to_image(value)
    np.testing.assert_allclose(np.reshape(second["heat"], heat.shape), heat, atol=2e-3 * np.abs(heat).max())
    assert found["third"]["size"] == [360, 480]  # the webcam


@pytest.mark.slow
def test_it_fits_on_a_phone(run: Callable[..., Result], model: Path, runtime: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert run("microscope", model, *_LIMITS, "--live", runtime, "-o", site).exit_code == 0
    for found in measured(site, "live/index.html", tmp_path / "profile"):
        assert (found["page"], found["outside"]) == (found["width"], [])


def test_the_same_bytes_and_links_from_the_other_pages(
    run: Callable[..., Result], model: Path, runtime: Path, tmp_path: Path
) -> None:
    whole, again, part1, part2 = (tmp_path / name for name in ("whole", "again", "part1", "part2"))
    limits = (*_LIMITS, "--live", runtime)
    for folder, more in ((whole, ()), (part1, ("--shard", "1/2")), (part2, ("--shard", "2/2"))):
        assert run("microscope", model, *limits, *more, "-o", folder).exit_code == 0
    assert run("merge", part1, part2, "-o", again).exit_code == 0
    files = {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert not (part2 / "live").exists()
    listed = json.loads((whole / "manifest.json").read_text())["files"]
    assert {"live/index.html", "live/live.js", "live/model.js", LIVE_FACTS, "live/ort/wasm.js"} <= set(listed)
    assert 'href="live/index.html"' in (whole / "index.html").read_text()
    unit = next(path for path in whole.glob("layers/*/1.html"))
    assert f"live/index.html#{unit.parent.name}/1" in unit.read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--live", "nowhere"], "npm install onnxruntime-web@"),
        (["--live", "{runtime}", "--bits", "12"], "8 bits in red, green and blue"),
    ],
)
def test_what_cannot_be_shown_is_one_line_before_any_work(
    run: Callable[..., Result], model: Path, runtime: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    given = [text.format(runtime=runtime) for text in arguments]
    result = run("microscope", model, *_LIMITS, *given, "-o", tmp_path / "site")
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "--live" in result.stderr
    assert not (tmp_path / "site").exists()
