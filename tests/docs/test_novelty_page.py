"""The Python of docs/novelty.md runs; its options and pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxray.cli.files.images import write
from onnxray.tests.engine.novelty.test_memory import GOOD, surface

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "novelty.md").read_text(encoding="utf-8")


def test_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write("part.png", surface(99, defect=True))
    code = re.findall(r"In Python:\n\n((?:    .*\n|\n)+)", TEXT)[0]
    names: dict[str, object] = {"images": GOOD}
    exec("if True:\n" + code.replace("[...]  #", "images  #"), names)
    assert "too few images" in capsys.readouterr().out
    assert (tmp_path / "memory.npz").is_file()


def test_pictures_and_options_are_there() -> None:
    from onnxray.cli.commands.compile import command as compile_command
    from onnxray.cli.commands.explain import command as explain
    from onnxray.cli.commands.novelty import fit, score
    from onnxray.cli.commands.watch import command as watch

    pictures = re.findall(r"\]\((images/[^)]*)\)", TEXT)
    assert pictures
    assert all((DOCS / picture).is_file() for picture in pictures)
    known = {o for command in (fit, score, compile_command, explain, watch) for p in command.params for o in p.opts}
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", TEXT)) <= known
