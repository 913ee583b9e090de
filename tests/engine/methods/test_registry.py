"""The registry finds a method in the file that is named after it, and loads no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import onnxray
from onnxray.engine.errors import UnknownName
from onnxray.engine.methods import registry
from onnxray.engine.methods.registry import find, methods

FOLDER = Path(registry.__file__).parent


@pytest.mark.parametrize("name", methods())
def test_a_method_s_file_has_its_name(name: str) -> None:
    stem = name.replace("-", "_").replace("+", "_plus")
    assert find(name).__module__ == f"onnxray.engine.methods.{stem}"


@pytest.mark.parametrize(("name", "stem"), [("grad-cam", "grad_cam"), ("grad-cam++", "grad_cam_plus_plus")])
def test_only_its_file_is_imported(name: str, stem: str) -> None:
    code = f"""
import sys
from onnxray.engine.methods.registry import find
assert find({name!r}).name == {name!r}
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(onnxray.__file__).parent.anchor,
        check=True,
    )
    stems = {file.stem for file in FOLDER.glob("*.py")} - {"__init__", "registry", "options"}
    loaded = {other for other in stems if f"onnxray.engine.methods.{other}" in done.stdout.split()}
    assert loaded == {stem}


@pytest.mark.parametrize("name", ["nothing", "", "../grad_cam", "grad_cam", "registry", "grad-cam.py", "families"])
def test_names_that_are_no_method(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        find(name)
    assert caught.value.name == name
    if name == "grad_cam":
        assert "grad-cam" in caught.value.nearest


def test_a_method_of_another_file_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registry, "someone-s-own", find("gradient"))
    assert find("someone-s-own") is find("gradient")
