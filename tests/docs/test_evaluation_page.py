"""docs/evaluation.md: its table is that of the registry, its Python runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import onnxray

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "evaluation.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_registry() -> None:
    assert runpy.run_path(str(DOCS / "make_evaluation.py"))["page"](TEXT) == TEXT


def test_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"In Python:\n\n((?:    .*\n)+)", TEXT)[0]
    code = code.replace('"model.onnx"', '"builtin"').replace('"photos/"', "onnxray.samples()[2:4]")
    exec("if True:\n" + code, {"onnxray": onnxray})
    assert "grad-cam" in capsys.readouterr().out
    assert (tmp_path / "judged" / "table.md").is_file()


def test_options_are_there() -> None:
    from onnxray.cli.commands.evaluate import command

    known = {o for p in command.params for o in p.opts}
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", TEXT.partition("## Trust")[0]))
    assert named <= known
