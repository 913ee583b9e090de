"""`onnxray health`: tables, findings in words, pages, other versions, bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import numpy_helper

from onnxray.cli.files.images import read, write
from onnxray.cli.tasks import saved_pass
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


def whole_and(run: Callable[..., Result], sick: Path, data: Path, *options: object) -> tuple[Path, tuple[object, ...]]:
    """The folder of a run over 70 images, one of which cannot be read, and its options."""
    for n, pixels in enumerate(images(33, seed=2)):
        write(data / f"{36 + n}.png", pixels)
    (data / "20.broken.png").write_bytes(b"no image")
    given = (sick, data, "--mean", "127.5", "--std", "127.5", "-q", *options)
    assert run("health", *given, "-o", sick.parent / "whole").exit_code == 1
    return sick.parent / "whole", given


def same(one: Path, other: Path) -> None:
    for name in ("health.npz", "manifest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("count", [2, 3])
def test_shards_merge_to_the_whole(run: Callable[..., Result], sick: Path, other: Path, data: Path, count: int) -> None:
    folder = sick.parent
    whole, given = whole_and(run, sick, data, "--checkpoint", other)
    parts = [folder / f"part{n}" for n in range(1, count + 1)]
    for n, part in enumerate(parts, 1):
        assert run("health", *given, "--shard", f"{n}/{count}", "-o", part).exit_code in (0, 1)
    done = run("merge", *parts[::-1], "-o", folder / "merged")
    assert done.exit_code == 0, done.stderr
    same(folder / "merged", whole / "result")
    for name in ("health.txt", "health.json", "histograms.png", "similarity.png"):
        assert (folder / "merged" / name).read_bytes() == (whole / name).read_bytes()
    assert "training" in (folder / "merged" / "health.txt").read_text()
    (folder / "merged" / "histograms-7.png").write_bytes(b"of a larger result")
    assert run("merge", *parts, "-o", folder / "merged", "--force").exit_code == 0
    assert not (folder / "merged" / "histograms-7.png").exists()
    same(folder / "merged", whole / "result")
    assert "different models" in run("merge", parts[0], _other_run(run, other, data), "-o", folder / "new").stderr
    (folder / "top").mkdir()
    (folder / "top" / "manifest.json").write_text('{"kind": "top"}')
    assert "different commands" in run("merge", parts[0], folder / "top", "-o", folder / "new").stderr


def _other_run(run: Callable[..., Result], model: Path, data: Path) -> Path:
    run("health", model, data, "-q", "-o", model.parent / "others")
    return model.parent / "others"


_KILLED = """
import os, signal, sys
from onnxray.cli.files import photos
from onnxray.cli.main import main
from onnxray.cli.tasks import saved_pass

saved_pass.SAVE, saved_pass.SAVE_TIMES = 0.0, 0
read, reads = photos.read_photo, []

def killing(path, card):
    reads.append(path)
    if len(reads) == 68:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, card)

photos.read_photo = killing
main(sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are those of POSIX")
def test_the_killed_run_goes_on(run: Callable[..., Result], sick: Path, data: Path) -> None:
    whole, given = whole_and(run, sick, data)
    cut = sick.parent / "cut"
    command = [sys.executable, "-c", _KILLED, "health", *map(str, given), "-o", str(cut)]
    assert subprocess.run(command, timeout=500).returncode == -signal.SIGKILL
    assert not (cut / "result").exists()
    again = run("health", *given, "-o", cut, "--resume")
    assert again.exit_code == 1, again.stderr
    same(cut / "result", whole / "result")


def test_a_part_without_images_is_refused(run: Callable[..., Result], sick: Path, data: Path) -> None:
    done = run("health", sick, data, "--shard", "1/3", "-o", sick.parent / "out", "-q")
    assert "part 1 of 3 has no images: there are 2 groups of 32 to share" in done.stderr


def test_the_cut_run_goes_on(
    run: Callable[..., Result], sick: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, given = whole_and(run, sick, data)
    cut = sick.parent / "cut"
    reads: list[str] = []

    def stopping(path: Path, card: object) -> np.ndarray:
        reads.append(path.name)
        if len(reads) == 68:
            raise KeyboardInterrupt
        return read(path)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(saved_pass, "SAVE", 0.0)
        patch.setattr(saved_pass, "SAVE_TIMES", 0)
        patch.setattr("onnxray.cli.files.photos.read_photo", stopping)
        assert run("health", *given, "-o", cut).exit_code == 130
    assert (cut / "unfinished.npz").is_file()
    refused = run("health", *given[:-1], "--batch", 4, "-o", cut, "--resume")
    assert "which cannot be continued" in refused.stderr
    (data / "99.png").write_bytes((data / "00.png").read_bytes())
    assert "over other images" in run("health", *given, "-o", cut, "--resume").stderr
    (data / "99.png").unlink()
    replaced = sick.parent / "replaced"
    shutil.copytree(cut, replaced)
    assert run("health", *given[:-1], "--batch", 4, "-o", replaced, "--force").exit_code == 1
    assert run("health", *given[:-1], "--batch", 4, "-o", sick.parent / "anew").exit_code == 1
    same(replaced / "result", sick.parent / "anew" / "result")
    reads.clear()
    with monkeypatch.context() as patch:
        patch.setattr("onnxray.cli.files.photos.read_photo", lambda path, card: reads.append(path.name) or read(path))
        again = run("health", *given, "-o", cut, "--resume")
    assert again.exit_code == 1, again.stderr
    assert len(reads) in (6, 38)
    same(cut / "result", whole / "result")
    assert not (cut / "unfinished.npz").exists()
    failed = json.loads((cut / "manifest.json").read_text())["images"]
    assert [Path(entry["path"]).name for entry in failed] == ["20.broken.png"]
