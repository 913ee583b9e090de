"""docs/cli.md is what the commands say."""

from __future__ import annotations

from onnxray.cli.commands import COMMANDS
from onnxray.cli.reference import PLACE, reference


def test_the_reference_is_current() -> None:
    if not PLACE.parent.is_dir():
        import pytest

        pytest.skip("installed without the docs")
    remedy = "run `python -m onnxray.cli.reference`"
    assert PLACE.read_text(encoding="utf-8") == reference(), remedy


def test_it_names_every_command_and_option() -> None:
    page = reference()
    for name in COMMANDS:
        assert f"\n## onnxray {name}\n" in page
    for option in ("--layer", "--force", "--resume", "--json", "--quiet", "--provider", "--labels"):
        assert f"`{option}`" in page
    assert "### onnxray models pull" in page
