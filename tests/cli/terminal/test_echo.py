"""Names that would steer the terminal, and that everything written goes through one place."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

import onnxray
from onnxray.cli.terminal.echo import echo, echo_json, echo_path, one_line, safe, say

HOSTILE = ["\x1b]0;title\x07", "\x9b31m", "a\u202eb", "a\rb", "\x08\x7f", "\udcff", "a\x00b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_steers_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(name)
    echo(name)
    echo_json({"name": name})
    out, err = capsys.readouterr()
    assert all(c == "\n" or c.isprintable() or c == "\ufffd" for c in out + err)
    assert json.loads(out.partition("\n")[2]) == {"name": name}


def test_other_text_stays() -> None:
    text = "layer 1: 3 % Größe 層 😀\nlayer 2"
    assert safe(text) == text
    assert one_line(text) == text.replace("\n", " ")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_paths_stay_as_they_are_for_programs(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    echo_path(os.fsdecode(b"a\tb\xff"))
    assert capfdbinary.readouterr().out == b"a\tb\xff\n"


def test_only_this_file_writes() -> None:
    folder = Path(onnxray.__file__).parent / "cli"
    own = folder / "terminal" / "echo.py"
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if file != own and isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("click.echo", "click.secho", "print"), file
