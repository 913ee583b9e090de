"""docs/scale.md: its snippet runs, its options are there, its figures are of the formula that stands there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import onnxray
from onnxray.cli.main import main
from onnxray.cli.tasks.cluster.on_ray import WHEELS

PAGE = (Path(onnxray.__file__).parent / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "scale.md", "exec"), {})
    count = len(onnxray.samples())
    assert capsys.readouterr().out == f"{count} {count}\n"


def test_options_are_there() -> None:
    commands = (main.get_command(click.Context(main), name) for name in ("explain", "activations", "predict", "merge"))
    known = {name for command in commands if command for parameter in command.params for name in parameter.opts}
    bare = re.sub(r"```.*?```|`python [^`]*`|`ray [^`]*`", "", PAGE, flags=re.DOTALL)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", bare)) <= known


def test_versions_are_those_of_the_command() -> None:
    assert f"Python {WHEELS[0]} to {WHEELS[-1]}" in PAGE
    text = (Path(onnxray.__file__).parent / "pyproject.toml").read_text(encoding="utf-8")
    first_without = "3." + str(int(WHEELS[-1].split(".")[1]) + 1)
    assert f"ray[data]>=2.40; python_version < '{first_without}'" in text
