"""The Python of docs/dream.md runs, with the file that its command writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from onnxray.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dream.md"


def test_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    (command,) = re.findall(r"```sh\nonnxray (.*?)\n```", text)
    done = CliRunner(catch_exceptions=False).invoke(main, command.split())
    assert done.exit_code == 0
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found: dict[str, object] = {}
    exec(first + second, found)
    assert found["pixels"].shape == (120, 160, 3)  # type: ignore[attr-defined]
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_pictures_are_there() -> None:
    for name in re.findall(r"\]\((images/[^)]*)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).is_file()


def test_options_are_those_of_the_commands() -> None:
    from onnxray.cli.commands.compile import command as compile_command
    from onnxray.cli.commands.dream import command as dream_command

    known = {o for command in (compile_command, dream_command) for p in command.params for o in p.opts}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE.read_text(encoding="utf-8"))) <= known
