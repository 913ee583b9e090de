"""The loop over images: what is kept, what fails alone, what waits for its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxray.cli.files.images import write
from onnxray.cli.files.output import Output
from onnxray.cli.files.run import Run, done
from onnxray.cli.tasks.over_images import ReadImage, over_batches, over_images
from onnxray.cli.terminal.progress import Progress
from onnxray.engine.errors import MethodError, OutputError, TargetError


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Four images of 1 to 4 rows; the second is none."""
    paths = [write(tmp_path / "in" / f"{n}.png", np.zeros((n, 5, 3), np.uint8)) for n in (1, 2, 3, 4)]
    paths[1].write_text("nothing to see")
    return paths


def run_of(tmp_path: Path, paths: Sequence[Path], resume: bool = False) -> Run:
    return Run(Output(tmp_path / "out", resume=resume), "explain", {}, {}, paths)


def rows(path: Path, pixels: np.ndarray, folder: str) -> tuple[dict[str, Any], list[str]]:
    return {"rows": len(pixels), "folder": folder}, []


def test_an_image_that_fails_fails_alone(tmp_path: Path, paths: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    def one(path: Path, pixels: np.ndarray, folder: str) -> tuple[dict[str, Any], list[str]]:
        if len(pixels) == 3:
            raise TargetError("no such place")
        return rows(path, pixels, folder)

    with run_of(tmp_path, paths) as run, Progress(len(paths)) as bar:
        over_images(run, bar, paths, one)
        assert bar.done == 4
    assert [entry["status"] for entry in run.entries] == ["done", "failed", "failed", "done"]
    assert [entry.get("rows") for entry in run.entries] == [1, None, None, 4]
    assert [entry.get("folder") for entry in run.entries] == ["1", None, None, "4"]
    unread, without = capsys.readouterr().err.splitlines()
    assert unread.startswith(f"onnxray: error: '{paths[1]}' cannot be read as an image")
    assert without == f"onnxray: error: {paths[2]}: no such place"


def test_an_error_that_the_first_images_share_ends_the_run(tmp_path: Path, paths: list[Path]) -> None:
    def one(*_: object) -> tuple[dict[str, Any], list[str]]:
        raise MethodError("fits no image")

    with pytest.raises(MethodError), run_of(tmp_path, paths) as run:
        over_images(run, Progress(0), paths, one)
    assert not run.manifest["complete"]


def test_what_is_done_is_not_done_again_and_has_its_folder(tmp_path: Path, paths: list[Path]) -> None:
    twins = [write(tmp_path / name / "twin.png", np.zeros((n, 5, 3), np.uint8)) for n, name in ((1, "a"), (2, "b"))]
    seen = []

    def one(path: Path, pixels: np.ndarray, folder: str) -> tuple[dict[str, Any], list[str]]:
        seen.append(path)
        return rows(path, pixels, folder)

    with run_of(tmp_path, twins) as run:
        over_images(run, Progress(0), twins[:1], one)
    with run_of(tmp_path, twins, resume=True) as run:
        over_images(run, Progress(0), twins, one)
    assert seen == twins
    assert [entry["folder"] for entry in run.entries] == ["twin", "twin-2"]


def test_news_come_after_their_image(tmp_path: Path, paths: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    news = iter([["first"], [], ["third", "and more"]])
    with run_of(tmp_path, paths) as run:
        over_images(run, Progress(0), paths, rows, lambda path: next(news))
    said = [line.removeprefix("onnxray: ") for line in capsys.readouterr().err.splitlines()]
    assert said[0] == "first"
    assert said[1].startswith("error: ")
    assert said[2:] == ["third", "and more"]


@pytest.mark.parametrize(("size", "batches"), [(1, [1, 1, 1]), (2, [1, 2]), (9, [3])])
def test_batches(paths: list[Path], size: int, batches: list[int]) -> None:
    """Without a run: nothing is written, every image has its entry; which run together does not depend on failures."""
    together = []

    def several(images: Sequence[ReadImage]) -> list[dict[str, Any]]:
        together.append(len(images))
        return [done(image.path, image.sha256, rows=len(image.pixels)) for image in images]

    entries = {entry["path"]: entry for entry in over_batches(None, Progress(0), paths, several, lambda: size)}
    assert together == batches
    assert [entries[str(path)].get("rows") for path in paths] == [1, None, 3, 4]


@pytest.mark.parametrize("bad", [1, 3, 4])
def test_an_error_of_one_image_does_not_end_the_run(
    tmp_path: Path, paths: list[Path], bad: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def one(path: Path, pixels: np.ndarray, folder: str) -> tuple[dict[str, Any], list[str]]:
        if len(pixels) == bad:
            raise MethodError("overflows")
        return rows(path, pixels, folder)

    with run_of(tmp_path, paths) as run:
        over_images(run, Progress(0), paths, one)
    assert [entry.get("rows") for entry in run.entries] == [None if n in (bad, 2) else n for n in (1, 2, 3, 4)]
    assert f"onnxray: error: {paths[bad - 1]}: overflows\n" in capsys.readouterr().err


def test_errors_that_differ_are_those_of_images(tmp_path: Path, paths: list[Path]) -> None:
    def one(path: Path, pixels: np.ndarray, folder: str) -> tuple[dict[str, Any], list[str]]:
        raise MethodError(f"overflows at {len(pixels)}")

    with run_of(tmp_path, paths) as run:
        over_images(run, Progress(0), paths, one)
    assert [entry["status"] for entry in run.entries] == ["failed"] * 4


def test_one_image_of_a_batch_fails_alone(paths: list[Path]) -> None:
    def several(images: Sequence[ReadImage]) -> list[dict[str, Any]]:
        if any(len(image.pixels) == 3 for image in images):
            raise MemoryError
        return [done(image.path, image.sha256, rows=len(image.pixels)) for image in images]

    entries = {entry["path"]: entry for entry in over_batches(None, Progress(0), paths, several, lambda: 9)}
    assert [entries[str(path)].get("rows") for path in paths] == [1, None, None, 4]
    assert entries[str(paths[2])]["error"] == f"{str(paths[2])!r}: there is not enough memory for it"


def test_a_full_disk_ends_the_run(tmp_path: Path, paths: list[Path]) -> None:
    seen = []

    def one(path: Path, *_: object) -> tuple[dict[str, Any], list[str]]:
        seen.append(path)
        raise OutputError("no space left")

    with pytest.raises(OutputError), run_of(tmp_path, paths) as run:
        over_images(run, Progress(0), paths, one)
    assert len(seen) == 1


@pytest.mark.parametrize("gone", [True, False])
def test_the_hash_is_that_of_the_bytes_that_were_read(tmp_path: Path, paths: list[Path], gone: bool) -> None:
    before = hashlib.sha256(paths[0].read_bytes()).hexdigest()

    def one(path: Path, pixels: np.ndarray, folder: str) -> tuple[dict[str, Any], list[str]]:
        if gone:
            path.unlink()
        else:
            path.write_bytes(b"another")
        return rows(path, pixels, folder)

    with run_of(tmp_path, paths[:1]) as run:
        over_images(run, Progress(0), paths[:1], one)
    assert run.entries[0]["sha256"] == before
    with run_of(tmp_path, paths[:1], resume=True) as run:
        assert run.kept(paths[0]) is None


def test_entries_of_another_form_are_made_again(tmp_path: Path, paths: list[Path]) -> None:
    with run_of(tmp_path, paths[:1]) as run:
        over_images(run, Progress(0), paths[:1], lambda *_: ({}, []))
    with run_of(tmp_path, paths[:1], resume=True) as run:
        over_images(run, Progress(0), paths[:1], rows, fits=lambda entry: entry["rows"])
    assert run.entries[0]["rows"] == 1
