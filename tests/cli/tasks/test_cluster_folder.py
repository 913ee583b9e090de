"""Blocks of a run without Ray: whose folder it is, what is gone on with, what is found before anything is removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from onnxray.cli.files.output import Output
from onnxray.cli.parameters.inputs import open_model
from onnxray.cli.tasks.cluster import on_ray as module
from onnxray.cli.tasks.cluster.folder import begin, goes_on, held, left_as_it_was
from onnxray.cli.tasks.cluster.job import Job, Pages, do_block, listing, same_job, try_options, whole
from onnxray.cli.tasks.cluster.store import Store
from onnxray.engine.errors import MethodError, OutputError, UnknownName

pytest.importorskip("pyarrow")

Run = Callable[..., Result]
PAGES = Pages(lambda *_: "", lambda folder: [])


@pytest.fixture
def job_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """The job of a line of the command line, in blocks of one image."""

    def job(*line: object) -> Job:
        asked: list[Any] = []

        def kept(*given: Any) -> module.Result:
            asked.append(given)
            return module.Result("", 1, 0)

        monkeypatch.setattr(module, "on_ray", kept)
        assert run(*line, "-q", "--on", "ray").exit_code == 0
        command, options, *_ = asked[0]
        if command == "top":
            options = replace(options, labels="predicted")
        return Job(command, options, Store(f"{options.output.folder}/parts"), 1, os.getcwd(), 2)

    return job


def do_all(job: Job, model: Path) -> int:
    job.store.make()
    job.store.write("job.json", same_job(job, open_model(str(model), {})))
    blocks, total = listing(job)
    for number in range(blocks):
        do_block(job, number, blocks, total, open_model(str(model), {}))
    return blocks


def test_a_card_that_is_changed_makes_another_job(
    job_of: Callable[..., Job], model: Path, photos: Path, tmp_path: Path
) -> None:
    job = job_of("predict", model, photos, "-o", tmp_path / "out")
    before = same_job(job, open_model(str(model), {}))
    assert same_job(job, open_model(str(model), {})) == before
    card = model.with_name("small.card.json")
    card.write_text(card.read_text().replace('"std": 127.5', '"std": 60'))
    assert same_job(job, open_model(str(model), {})) != before


def test_blocks_of_different_cards_are_not_joined(
    job_of: Callable[..., Job], model: Path, photos: Path, tmp_path: Path
) -> None:
    job = job_of("predict", model, photos, "-o", tmp_path / "out")
    blocks = do_all(job, model)
    (tmp_path / "out" / "parts" / "00000001.parquet").unlink()
    card = model.with_name("small.card.json")
    card.write_text(card.read_text().replace('"std": 127.5', '"std": 60'))
    do_block(job, 1, blocks, 3, open_model(str(model), {}))
    for in_parts in (False, True):
        with pytest.raises(OutputError, match="parts of different runs: different preprocessing"):
            whole(job, blocks, job.options.output, in_parts, PAGES)


def test_top_is_joined_from_the_stored_list(
    job_of: Callable[..., Job], run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    asked = ("top", model, photos, "-k", "1", "--layer", "features", "--channel", "0")
    job = job_of(*asked, "-o", tmp_path / "out")
    blocks = do_all(job, model)
    (photos / "added.png").write_bytes((photos / "ramp.png").read_bytes())
    (photos / "broken.png").write_text("nothing to see")
    assert whole(job, blocks, job.options.output, False, PAGES) == (3, 0)


def test_merge_says_what_is_left_of_a_run_on_a_cluster(
    job_of: Callable[..., Job], run: Run, model: Path, photos: Path, tmp_path: Path
) -> None:
    top, explain = tmp_path / "top", tmp_path / "explain"
    do_all(job_of("top", model, photos, "-k", "1", "--layer", "features", "-o", top), model)
    do_all(job_of("explain", model, photos, "-m", "gradient", "-o", explain), model)
    assert run("merge", explain, "-o", tmp_path / "whole").exit_code == 0
    for number in range(3):
        (explain / "parts" / f"0000000{number}.parquet").unlink()
        done = run("merge", explain, "-o", tmp_path / "merged")
        left = f"{number + 1} of 3 blocks are left" if number < 2 else "all blocks are left"
        assert done.exit_code == 1
        assert f"(onnxray explain), {left}: go on with `onnxray explain ... --on ... --resume`" in done.stderr
    done = run("merge", top, "-o", tmp_path / "merged")
    assert done.exit_code == 1
    assert "unfinished run (onnxray top), which ends without merge: go on with `onnxray top ... --on" in done.stderr
    assert not (tmp_path / "merged").exists()


def test_files_of_others_stay(job_of: Callable[..., Job], model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = job_of("predict", model, photos, "-o", out)
    out.mkdir()
    assert not goes_on(job, Output(out, resume=True), b"same")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="files that no run of onnxray wrote, and no run to go on with"):
        goes_on(job, Output(out, resume=True), b"same")
    with pytest.raises(OutputError, match="holds files: give --resume"):
        goes_on(job, Output(out), b"same")
    assert not goes_on(job, Output(out, force=True), b"same")
    (out / "parts").mkdir()
    (out / "parts" / "wheel.png").write_text("mine as well")
    for output in (Output(out), Output(out, force=True), Output(out, resume=True)):
        with pytest.raises(OutputError, match="holds 'wheel.png', which no run of onnxray wrote"):
            goes_on(job, output, b"same")
    assert (out / "parts" / "wheel.png").read_text() == "mine as well"


def test_one_driver_at_a_time(job_of: Callable[..., Job], run: Run, model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    store = Store(f"{out}/parts")
    local = ("predict", model, photos, "-q", "-o", out, "--force")
    with held(store, out) as leave:
        with pytest.raises(OutputError, match="is being written by another run"), held(store, out):
            pass
        assert "is being written by another run" in run(*local).stderr
        leave()
        with pytest.raises(OutputError, match="is being written by another run"), held(store, out):
            pass
        assert run(*local).exit_code == 0  # what joins the blocks takes the folder's lock
    with held(store, out):
        pass
    with held(Store(f"{tmp_path}/new/parts"), tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()


def test_wrong_options_are_found_before_parts_are_removed(
    job_of: Callable[..., Job], model: Path, photos: Path, tmp_path: Path
) -> None:
    wrong = job_of("explain", model, photos, "-m", "grad-cma", "-o", tmp_path / "out")
    with pytest.raises((UnknownName, MethodError), match="grad-cma"):
        try_options(wrong)
    (photos / "a-broken.png").write_text("nothing to see")
    try_options(job_of("explain", model, photos, "-m", "gradient", "-o", tmp_path / "out"))
    try_options(job_of("top", model, photos, "--layer", "features", "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_parts_of_an_earlier_process_stay_when_nothing_is_done(
    job_of: Callable[..., Job], model: Path, photos: Path, tmp_path: Path
) -> None:
    job = job_of("explain", model, photos, "-m", "gradient", "-o", tmp_path / "out")
    for again in (True, False):
        begin(job, b"same", again)
        with pytest.raises(MethodError), left_as_it_was(job, again):
            raise MethodError("no")
        assert bool(job.store.names()) == again


def test_errors_of_the_machine_are_one_line() -> None:
    def fails(error: Exception) -> None:
        raise error

    assert module._safely(fails, (OSError(28, "No space left on device"),))[1][0] == "OutputError"
    assert "has not enough memory" in module._safely(fails, (MemoryError(),))[1][1]
