"""docs/production.md: what it shows of Python runs, what it lists of sources and rules is all there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxray.cli.sinks.registry import SINKS
from onnxray.cli.sources.table import SUFFIXES
from onnxray.engine.pipeline.rules import NAMES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "production.md").read_text(encoding="utf-8")


def test_the_lines_of_python_run(capsys: pytest.CaptureFixture[str]) -> None:
    for block, says in zip(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), ("Stats(images=", "psi="), strict=True):
        exec(block, {})
        assert says in capsys.readouterr().out


def test_it_names_sources_sinks_and_what_a_rule_knows() -> None:
    for name in (*NAMES, *SUFFIXES, *(f"{kind}:" for kind in SINKS), "@list.txt", "camera:0", "rtsp://", "clip.mp4"):
        assert name in PAGE
