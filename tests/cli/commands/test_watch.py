"""`onnxray watch`: nothing is lost or done twice, whatever ends it; one clear line for what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import onnxray
from onnxray.cli.files.images import encode, write
from onnxray.engine.errors import OutputError

pytest.importorskip("watchdog")
pytest.importorskip("simpleeval")

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def records(out: Path) -> list[dict[str, Any]]:
    path = out / "records.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_written_for_each_image(run: Run, model: Path, photos: Path, folder: Path, tmp_path: Path) -> None:
    for photo in photos.glob("*.png"):
        shutil.copy(photo, folder)
    out, moved = tmp_path / "out", tmp_path / "moved"
    done = run("watch", folder, "--model", model, "-o", out, "--limit", 3, "--move-to", moved, "--mm-per-pixel", 0.5)
    assert done.exit_code == 0, done.stderr
    assert list(folder.iterdir()) == []
    assert sorted(p.name for p in moved.iterdir()) == ["noise.png", "ramp.png", "square.png"]
    for record in records(out):
        e = onnxray.explain(model, moved / Path(record["path"]).name)
        (found,) = record["maps"]
        assert (record["status"], found["score"], found["label"]) == ("done", e.score, e.label)
        box = found["region"]["box"]
        assert found["region"]["box_mm"] == [edge / 2 for edge in box]
        name = f"{Path(record['path']).stem}-{record['id'][:10]}-grad-cam.npy"
        np.testing.assert_array_equal(np.load(out / "images" / name), e.values)


def test_a_rule_says_what_is_explained(run: Run, model: Path, photos: Path, folder: Path, tmp_path: Path) -> None:
    for photo in photos.glob("*.png"):
        shutil.copy(photo, folder)
    labels = {p.name: onnxray.predict(model, p).label for p in photos.glob("*.png")}
    rule, out = f"label != '{labels['ramp.png']}' or 'square' in path", tmp_path / "out"
    done = run("watch", folder, "--model", model, "-o", out, "--limit", 3, "--when", rule)
    assert done.exit_code == 0, done.stderr
    for record in records(out):
        name = Path(record["path"]).name
        wanted = labels[name] != labels["ramp.png"] or name == "square.png"
        assert (record["prediction"]["label"], record["explained"], "maps" in record) == (labels[name], wanted, wanted)
    # They stay, and are known: nothing is left to do.
    before = records(out)
    again = run("watch", folder, "--model", model, "-o", out, "--duration", 1.5, "--when", rule)
    assert (again.exit_code, records(out)) == (0, before)


def test_images_that_cannot_be_read_are_recorded(
    run: Run, model: Path, photo: Path, folder: Path, tmp_path: Path
) -> None:
    broken = folder / "broken.png"
    broken.write_bytes(photo.read_bytes()[:100])
    os.utime(broken, (time.time() - 100, time.time() - 100))  # else it may still become whole
    shutil.copy(photo, folder)
    out = tmp_path / "out"
    done = run("watch", folder, "--model", model, "-o", out, "--limit", 2)
    assert done.exit_code == 0
    assert {Path(r["path"]).name: r["status"] for r in records(out)} == {"broken.png": "failed", "ramp.png": "done"}
    assert "broken.png' is a truncated PNG" in done.stderr


def test_a_full_disk_is_waited_for(
    run: Run, model: Path, photo: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxray.cli.sinks.folder import Folder

    shutil.copy(photo, folder)
    true, tries = Folder.write, []

    def write_(self: Folder, record: Any) -> None:
        tries.append(record)
        if len(tries) < 3:
            raise OutputError("cannot write 'x': No space left on device") from OSError(28, "No space left on device")
        true(self, record)

    monkeypatch.setattr(Folder, "write", write_)
    monkeypatch.setattr("onnxray.cli.tasks.keeper._FIRST_PAUSE", 0.01)
    done = run("watch", folder, "--model", model, "-o", tmp_path / "out", "--limit", 1)
    assert done.exit_code == 0
    assert len(records(tmp_path / "out")) == 1
    assert done.stderr.count("it is tried again until there is room") == 1
    assert done.stderr.count("there is room on the disk again") == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--when", "label != 'rd'"), "no label named 'rd'; nearest: 'red'"),
        (("--when", "score >"), "is no expression"),
        (("--to", "mqt:x"), "no sink named 'mqt'"),
        (("--method", "grad-kam"), "nearest: 'grad-cam'"),
        (("--target", "purple"), "no label named 'purple'"),
        (("--part", "none.png"), "none.png' cannot be read"),
        (("--move-to", "in"), "results need another one"),
        (("--every", "2"), "--every has no meaning here"),
    ],
)
def test_what_is_wrong_is_one_line_before_the_first_image(
    run: Run,
    model: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("watch", "in", "--model", model, "-o", tmp_path / "out", *more)
    assert done.exit_code in (1, 2)
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert says in line
    assert not records(tmp_path / "out")


def test_a_folder_that_is_not_there(run: Run, model: Path, tmp_path: Path) -> None:
    done = run("watch", tmp_path / "none", "--model", model, "-o", tmp_path / "out")
    assert (done.exit_code, "there is no folder" in done.stderr) == (1, True)


@contextmanager
def watching(folder: Path, model: Path, out: Path, *more: object) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, once it watches."""
    args = ["watch", folder, "--model", model, "-o", out, *more]
    process = subprocess.Popen([sys.executable, "-m", "onnxray", *map(str, args)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "watching" in line:
                break
        yield process
    finally:
        process.kill()
        process.wait(30)
        process.stderr.close()  # type: ignore[union-attr]


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def drop(folder: Path, number: int) -> None:
    """An image arrives, renamed into place."""
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
    part = folder / f"{number}.part"
    part.write_bytes(encode(pixels))
    part.rename(folder / f"{number}.png")


def test_kills_lose_nothing_and_repeat_nothing(folder: Path, model: Path, tmp_path: Path) -> None:
    """`bench/watch.py` does the same with fifty kills."""
    out, moved, rng, dropped = tmp_path / "out", tmp_path / "moved", np.random.default_rng(0), 0
    for _ in range(4):
        with watching(folder, model, out, "--move-to", moved, "--to", tmp_path / "also.jsonl"):
            before = len(records(out))
            for _ in range(8):
                drop(folder, dropped)
                dropped += 1
                time.sleep(0.02)
            until(lambda before=before: len(records(out)) > before)  # type: ignore[misc]
            time.sleep(float(rng.uniform(0, 0.1)))
    with watching(folder, model, out, "--move-to", moved, "--to", tmp_path / "also.jsonl") as process:
        until(lambda: len(list(moved.glob("*.png"))) == dropped)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    names = sorted(int(Path(record["path"]).stem) for record in records(out))
    assert names == list(range(dropped))
    also = [json.loads(line) for line in (tmp_path / "also.jsonl").read_text().splitlines()]
    assert sorted(r["id"] for r in also) == sorted(r["id"] for r in records(out))
    assert list(folder.iterdir()) == []


def test_sigterm_finishes_what_is_in_work(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(folder / "1.png", np.zeros((24, 24, 3), np.uint8))
    with watching(folder, model, out) as process:
        until(lambda: len(records(out)) == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "stopped: 1 images done" in process.stderr.read()


def test_two_cannot_share_a_folder_of_results(run: Run, folder: Path, model: Path, tmp_path: Path) -> None:
    with watching(folder, model, tmp_path / "out"):
        done = run("watch", folder, "--model", model, "-o", tmp_path / "out", "--duration", 0.1)
        assert (done.exit_code, "is in use" in done.stderr) == (1, True)
