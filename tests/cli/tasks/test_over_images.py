"""The loop over images: what is kept, what fails alone, what waits for its batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxray.cli.files.images import write
from onnxray.cli.files.output import Output
from onnxray.cli.files.run import Run, done
from onnxray.cli.tasks.over_images import over_batches, over_images
from onnxray.cli.terminal.progress import Progress
from onnxray.engine.errors import MethodError, TargetError

Image = tuple[Path, np.ndarray]


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
    assert unread.startswith(f"onnxray: error: '{paths[1]}' is no image")
    assert without == f"onnxray: error: {paths[2]}: no such place"


def test_other_errors_end_the_run(tmp_path: Path, paths: list[Path]) -> None:
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
        over_images(run, Progress(0), paths, rows, lambda: next(news))
    said = [line.removeprefix("onnxray: ") for line in capsys.readouterr().err.splitlines()]
    assert said[0] == "first"
    assert said[1].startswith("error: ")
    assert said[2:] == ["third", "and more"]


@pytest.mark.parametrize(("size", "batches"), [(1, [1, 1, 1]), (2, [2, 1]), (9, [3])])
def test_batches(paths: list[Path], size: int, batches: list[int]) -> None:
    """Without a run: nothing is written, every image has its entry, one that fails keeps no other waiting."""
    together = []

    def several(images: Sequence[Image]) -> list[dict[str, Any]]:
        together.append(len(images))
        return [done(path, rows=len(pixels)) for path, pixels in images]

    entries = {entry["path"]: entry for entry in over_batches(None, Progress(0), paths, several, lambda: size)}
    assert together == batches
    assert [entries[str(path)].get("rows") for path in paths] == [1, None, 3, 4]
