"""docs/targets.md is what the registry says, and every target that it names can be read."""

from __future__ import annotations

import re
from pathlib import Path

from onnxray import Target
from onnxray.docs.make_targets import page
from onnxray.engine.targets.registry import forms

PAGE = Path(__file__).resolve().parents[2] / "docs" / "targets.md"


def test_the_page_is_up_to_date() -> None:
    """If not: python docs/make_targets.py."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_target_of_the_recipes_is_read() -> None:
    texts = re.findall(r"--target ([^\s`]+)", page())
    assert len(texts) > 8
    for given in texts:
        text = given.strip("'").replace("\\|", "|")  # as the shell is given it, and not a cell of a table
        assert str(Target.parse(text)) == text
        assert text.partition(":")[0] in forms()
