"""MODEL and IMAGES of the command line: names become a loaded model, its card, and a list of image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engine.errors import ImageError, ModelError, UnknownName

if TYPE_CHECKING:
    from ..engine.graph import Model
    from ..engine.preprocess import Card

# Of the options of `options.card`, those that are about the model's ends, not about preprocessing.
_ENDS = ("output", "scores")


def model_path(name: str) -> Path:
    """The file for MODEL: an existing path, else a name of `onnxray models list`. Raises UnknownName, ModelError."""
    path = Path(name)
    if path.is_file():
        return path
    from .. import models

    if name in models.names():
        return models.path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path  # loading it says what is wrong with it
    raise UnknownName("model or file", name, models.names(), "give the path of an .onnx file or a name from `onnxray models list`")


def open_model(name: str, card: Mapping[str, Any]) -> Model:
    """Load MODEL with the options of `options.card`."""
    from ..engine.graph import load

    return load(model_path(name), **card)


def warn(text: str, quiet: bool) -> None:
    """One line on stderr."""
    if not quiet:
        click.echo(f"onnxray: {' '.join(text.split())}", err=True)
