"""The snippets of docs/occlusion.md run, and what it says of options and defaults is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from onnxray.cli.files.images import write
from onnxray.cli.main import main
from onnxray.engine.attribution.baselines import FILLS
from onnxray.engine.methods.occlusion import CHECKED, MODES
from onnxray.engine.methods.registry import find, options_of

PAGE = Path(__file__).parents[2] / "docs" / "occlusion.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, cnn: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and a photo of the names in the page, of 64 x 64 pixels."""
    larger = onnx.ModelProto.FromString(cnn.SerializeToString())
    for dim in larger.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 64
    (tmp_path / "model.onnx").write_bytes(larger.SerializeToString())
    (tmp_path / "model.card.json").write_text('{"mean": 127.5, "std": 127.5}')
    write(tmp_path / "photo.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_snippet(folder: Path) -> None:
    from onnxray.cli.files.images import read

    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"pixels": read(folder / "photo.jpg")}
    exec(code, names)
    e = names["e"]
    assert e.values.shape == e.details["classes"].shape == (5, 5)


def test_the_command(folder: Path) -> None:
    (line,) = re.findall(r"^```sh\nonnxray (.*?)\n```", TEXT, re.MULTILINE | re.DOTALL)
    done = CliRunner(catch_exceptions=False).invoke(main, line.split())
    assert done.exit_code == 0, done.output
    assert (folder / done.stdout.strip() / "photo" / "occlusion-classes.png").is_file()


def test_defaults_and_names() -> None:
    options = {o.name: o for o in options_of(find("occlusion"))}
    modes = dict(re.findall(r"^\| `(exact|plain|coarse-to-fine|capped)` \| [^|]+ \|([^|]*)\|$", TEXT, re.MULTILINE))
    assert set(modes) == set(MODES)
    assert f"({options['budget'].default})" in modes["coarse-to-fine"]
    assert f"({options['cap'].default})" in modes["capped"]
    assert f"at {CHECKED} places" in TEXT
    for fill in FILLS:
        assert f"`{fill}`" in TEXT
