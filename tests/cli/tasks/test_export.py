"""`onnxray export` and `onnxray.export`: files of Model Explorer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import onnxray
from onnxray.engine.errors import OutputError, UnknownName


def test_the_command_writes_a_file_for_each_number(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("export", "builtin", "samples/04-crack-concrete.png", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(Path(line).name for line in done.stdout.split())
    assert len(written) == 7
    again = run("export", "builtin", "-o", tmp_path / "out")
    assert again.exit_code == 1
    assert "--force" in again.output


def test_what_is_left_out_is_said(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("export", "builtin", "--to", "model-explorer", "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert "without relevance: relevance is measured on an image" in done.output
    assert "without health" in done.output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--data", "cost", "--target", "3"), "a target is for relevance"),
        (("--data", "time", "--target", "3"), "a target is for relevance"),
        (("samples", "--data", "cost"), "without images"),
    ],
)
def test_what_has_no_effect_is_refused(
    run: Callable[..., Result], tmp_path: Path, given: tuple[str, ...], words: str
) -> None:
    done = run("export", "builtin", *given, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert words in done.output
    assert not (tmp_path / "out").exists()


def test_in_python(tmp_path: Path) -> None:
    files = onnxray.export(
        "builtin", onnxray.samples()[4], tmp_path / "out", data="relevance", target="contrast:crack,scratch"
    )
    assert [file.name for file in files] == ["relevance.json"]
    assert "contrast" in json.loads(files[0].read_text(encoding="utf-8"))["surface"]["name"]
    with pytest.raises(OutputError, match="force"):
        onnxray.export("builtin", out=tmp_path / "out")
    with pytest.raises(UnknownName, match="model-explorer"):
        onnxray.export("builtin", to="netron")
