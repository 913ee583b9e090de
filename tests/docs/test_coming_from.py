"""docs/coming-from/: what the pages show of Python runs, and every method that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxray.engine.methods.registry import find

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "coming-from").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_lines_of_python_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_method_is_there(page: Path) -> None:
    """A method stands in backticks and quotes, in the column of what onnxray has."""
    ours = [row.split("|")[2] for row in page.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    named = [name for cell in ours for name in re.findall(r'`"([a-z+-]+)"`', cell)]
    for name in named:
        find(name)
    assert named or page.stem == "lucid"
