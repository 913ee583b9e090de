"""docs/methods.md is what the registry says."""

from __future__ import annotations

from pathlib import Path

import onnxray
from onnxray.docs.make_methods import page
from onnxray.engine.methods.registry import methods, options_of
from onnxray.engine.targets.target import Target

PLACE = Path(onnxray.__file__).parent / "docs" / "methods.md"


def test_the_page_is_current() -> None:
    """If not: python docs/make_methods.py"""
    assert PLACE.read_text(encoding="utf-8") == page()


def test_it_describes_every_method_and_option() -> None:
    text = page()
    for name, cls in methods().items():
        assert f"\n## {name}\n" in text
        for option in options_of(cls):
            assert f"| `{option.name}` |" in text
        assert f"| {cls.randomisation} |" in text
    for line in text.splitlines():
        if line.startswith("| `") and "LAYER" not in line:
            assert line.count("|") >= 3


def test_its_targets_can_be_read() -> None:
    table = page().partition("## What is explained")[2].partition("## Where")[0]
    forms = [cell.strip("` ") for line in table.splitlines() if line.startswith("| `") for cell in [line.split("|")[1]]]
    read = 0
    for form in (part.strip(" `") for listed in forms for part in listed.split("`, `")):
        if form.endswith("FILE.npy"):
            continue
        text = (
            form.replace("CHANNEL", "3").replace("Y0,X0,Y1,X1", "0,0,4,4").replace("Y,X", "1,2").replace("I,J", "0,1")
        )
        assert Target.parse(text)
        read += 1
    assert read >= 14


def test_what_fails_the_sanity_check_is_named() -> None:
    sanity = page().partition("Methods that fail it:")[2].partition("\n")[0]
    assert "`guided-backprop`" in sanity
    assert "`deconvnet`" in sanity
    assert "`grad-cam`" not in sanity
