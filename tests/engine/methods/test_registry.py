"""The registry finds a method in the file that is named after it, and loads no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import onnxray
from onnxray.engine.errors import MethodError, UnknownName
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


@pytest.mark.parametrize("name", ["nothing", "", "../grad_cam", "grad_can", "registry", "grad-cam.py", "families"])
def test_names_that_are_no_method(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        find(name)
    assert caught.value.name == name
    if name == "grad_can":
        assert "grad-cam" in caught.value.nearest


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("gradcam", "grad-cam"),
        ("GradCAM", "grad-cam"),
        ("grad_cam", "grad-cam"),
        ("GradCAM++", "grad-cam++"),
        ("gradcampp", "grad-cam++"),
        ("ig", "integrated-gradients"),
        ("IntegratedGradients", "integrated-gradients"),
        ("Layer CAM", "layer-cam"),
        ("LRP", "lrp"),
        ("saliency", "gradient"),
        ("Guided_Backprop", "guided-backprop"),
    ],
)
def test_other_spellings_and_names(called: str, name: str) -> None:
    assert find(called) is find(name)
    assert registry.make(called).name == name


def test_names_and_aliases_differ() -> None:
    every = [registry._plain(name) for cls in methods().values() for name in (cls.name, *cls.aliases)]
    assert len(every) == len(set(every))


def test_an_alias_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="gradcam"):
        registry.method("mine", "GradCAM")(find("gradient"))


def test_a_class_is_as_good_as_its_name() -> None:
    assert registry.make(find("smoothgrad"), {"samples": 3}) == registry.make("smoothgrad", {"samples": 3})


@pytest.mark.parametrize("given", [["grad-cam", "lrp"], None, 3])
def test_what_is_no_single_method_is_refused_in_words(given: object) -> None:
    with pytest.raises(MethodError, match="give the name of one"):
        registry.make(given)  # type: ignore[arg-type]


def test_a_method_of_another_file_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registry, "someone-s-own", find("gradient"))
    assert find("someone-s-own") is find("gradient")
