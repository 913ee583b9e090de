"""`onnxray models`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from onnxray import models
from onnxray.models.download import Progress as Told


def test_the_list_has_every_name(run: Callable[..., Result]) -> None:
    lines = run("models", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(models.names())
    found = json.loads(run("models", "list", "--json").stdout)
    assert [entry["name"] for entry in found] == list(models.names())
    assert all({"title", "path", "bytes", "sha256", "url", "licence", "card"} <= entry.keys() for entry in found)


@pytest.mark.parametrize("name", models.names())
def test_info(run: Callable[..., Result], name: str) -> None:
    done = run("models", "info", name)
    assert done.exit_code == 0
    assert models.info(name).title in done.stdout
    assert json.loads(run("models", "info", name, "--json").stdout)["name"] == name


def test_unknown_names_and_files_that_are_not_here(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONNXRAY_CACHE", str(tmp_path))
    for command in ("info", "path", "pull"):
        done = run("models", command, "mobilenetv3-7")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "nearest: 'mobilenetv2-7'" in done.stderr
    done = run("models", "path", "mobilenetv2-7")
    assert done.exit_code == 1
    assert "run `onnxray models pull mobilenetv2-7`" in done.stderr
    done = run("predict", "mobilenetv2-7", "x.png")
    assert "run `onnxray models pull mobilenetv2-7`" in done.stderr


def test_pull_says_how_far_it_is(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The download itself is tested with the engine; here, what is said about it."""

    def pull(name: str, progress: Told | None = None) -> Path:
        assert progress is not None
        for done in range(0, 5_000_001, 500_000):
            progress(done, 5_000_000)
        return tmp_path / f"{name}.onnx"

    monkeypatch.setattr(models, "pull", pull)
    done = run("models", "pull", "squeezenet1.1-7")
    assert done.stdout == f"{tmp_path / 'squeezenet1.1-7.onnx'}\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("onnxray: squeezenet1.1-7: 0.5 of 5.0 MB")
    assert run("models", "pull", "squeezenet1.1-7", "--quiet").stderr == ""
    drawn = run("models", "pull", "squeezenet1.1-7", "--progress").stderr
    assert drawn.startswith("\r\x1b[2K")
    assert drawn.endswith("\r\x1b[2K")


def test_a_file_of_that_name_comes_first(
    run: Callable[..., Result], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.rename(tmp_path / "builtin")
    assert json.loads(run("inspect", "builtin", "--json").stdout)["path"] == "builtin"
