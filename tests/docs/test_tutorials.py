"""docs/tutorials/ and docs/recipes.md: the lines of Python run, the commands are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from onnxray.cli.commands import COMMANDS
from onnxray.cli.main import main

_DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [_DOCS / "recipes.md", *sorted((_DOCS / "tutorials").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_lines_of_python_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_that_they_are_given(page: Path) -> None:
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("onnxray ")]
    assert commands
    for _, name, *given in commands:
        assert name in COMMANDS
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        if isinstance(command, click.Group):
            command = command.commands[given[0]]
        known = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in given if re.match(r"--?[a-z]", word)} <= known, name
