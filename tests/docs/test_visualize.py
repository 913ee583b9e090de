"""The Python of docs/visualize.md runs, its pictures are there and its options exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "visualize.md"


def test_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, object] = {}
    exec(snippet, found)
    v = found["v"]
    assert len(v.examples[0]) == 4  # type: ignore[attr-defined]
    np.testing.assert_array_equal(v.checkpoints[0].images, v.images)  # type: ignore[attr-defined]
    assert {"0.png", "0-strip.png", "0-example-1.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert (tmp_path / "history.gif").read_bytes()[:3] == b"GIF"


def test_pictures_are_there() -> None:
    for name in re.findall(r"\]\((images/[^)]*)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / name).is_file()


def test_options_are_those_of_the_command() -> None:
    from onnxray.cli.commands.visualize import command

    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE.read_text(encoding="utf-8"))) <= known
