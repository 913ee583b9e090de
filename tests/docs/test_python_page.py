"""docs/python.md is what the docstrings say of every public name."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import onnxray
from onnxray.docs.make_python import _HEAD, GROUPS, members, page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_page_is_up_to_date() -> None:
    """If not: python docs/make_python.py."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_public_name_is_on_it_once() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(onnxray.__all__)
    for name in listed:
        assert page().count(f"`onnxray.{name}`\n") + page().count(f"### `onnxray.{name}(") == 1


@pytest.mark.parametrize("name", onnxray.__all__)
def test_every_public_name_has_a_docstring_and_so_have_its_members(name: str) -> None:
    value = getattr(onnxray, name)
    if isinstance(value, str):
        return
    assert inspect.getdoc(value)
    if isinstance(value, type):
        assert [member for member, text in members(value) if not text] == []


def test_the_first_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda url: Path(url.removeprefix("file://")).unlink() or True)
    exec(_HEAD.split("```python\n")[1].split("```")[0], {})
    assert (tmp_path / "results" / "grad-cam.json").is_file()
