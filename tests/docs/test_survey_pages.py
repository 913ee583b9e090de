"""The Python of docs/top.md and docs/health.md runs; their options and pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import onnxray

DOCS = Path(__file__).resolve().parents[2] / "docs"
# What stands in the pages, and in its place what there is to run it on.
STANDINS = {
    '"model.onnx"': '"builtin"',
    '"photos/"': "onnxray.samples()",
    '"layer4.1"': '"stage4/relu2"',
    '"quantised.onnx"': '"builtin"',
}


@pytest.mark.parametrize("name", ["top", "health"])
def test_snippets_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    code = re.findall(r"In Python:\n\n((?:    .*\n)+)", text)[0]
    for there, here in STANDINS.items():
        code = code.replace(there, here)
    exec("if True:\n" + code, {"onnxray": onnxray})
    assert capsys.readouterr().out.strip()
    assert (tmp_path / "result" / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["top", "health"])
def test_pictures_and_options_are_there(name: str) -> None:
    from onnxray.cli.commands.health import command as health
    from onnxray.cli.commands.merge import command as merge
    from onnxray.cli.commands.top import command as top

    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((images/[^)]*)\)", text)
    assert pictures
    assert all((DOCS / picture).is_file() for picture in pictures)
    known = {o for command in (top, health, merge) for p in command.params for o in p.opts}
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text)) <= known
