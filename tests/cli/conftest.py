"""What the tests of the command line share: small models with cards, images, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from onnxray.cli.files.images import write
from onnxray.cli.main import main


@pytest.fixture
def run() -> Callable[..., Result]:
    """run("predict", model, image, ...) -> Click's result, stdout and stderr apart; what a bug raises is raised."""

    def call(*args: object) -> Result:
        return CliRunner(catch_exceptions=False).invoke(main, [str(a) for a in args])

    return call


@pytest.fixture
def model(tmp_path: Path, cnn: onnx.ModelProto) -> Path:
    """The small classifier as a file, with a card beside it."""
    path = tmp_path / "small.onnx"
    path.write_bytes(cnn.SerializeToString())
    labels = '["red", "green", "blue", "gray", "none"]'
    path.with_name("small.card.json").write_text(f'{{"mean": 127.5, "std": 127.5, "labels": {labels}}}')
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A colourful picture of 40 x 56 pixels."""
    y, x = np.mgrid[0:40, 0:56]
    pixels = np.stack([x * 4, y * 6, 255 - x * 4], axis=-1).clip(0, 255).astype(np.uint8)
    return write(tmp_path / "photos" / "ramp.png", pixels)


@pytest.fixture
def photos(photo: Path) -> Path:
    """A folder with three pictures."""
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[8:16, 8:16, 0] = 255
    write(photo.with_name("square.png"), pixels)
    write(photo.with_name("noise.png"), np.random.default_rng(1).integers(0, 256, (32, 20, 3), np.uint8))
    return photo.parent
