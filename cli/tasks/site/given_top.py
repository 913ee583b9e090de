"""A result of `onnxray top` in the place of a survey of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..top import RESULT
from .plan import SiteLayer
from .survey import Survey

if TYPE_CHECKING:
    from ....engine.graph.model import Model
    from ....engine.survey.top import Top


def result_folder(folder: Path) -> Path:
    """The folder of the result in one that `onnxray top` wrote, or that folder itself."""
    return folder / RESULT if (folder / RESULT).is_dir() else folder


def digest_of(folder: Path) -> str:
    """sha256 of the files of a result. Raises OutputError."""
    from ....engine.errors import OutputError

    digest = hashlib.sha256()
    for name in ("manifest.json", "top.npz"):
        try:
            digest.update((result_folder(folder) / name).read_bytes())
        except OSError as error:
            raise OutputError(
                f"{str(folder)!r} has no result of onnxray top ({name}: {error.strerror or error}): name the folder "
                "that it wrote"
            ) from None
    return digest.hexdigest()


def survey_of(folder: Path, model: Model, layers: Sequence[SiteLayer], images: Sequence[Path], part: Path) -> Survey:
    """The result as a survey. images: where those of the result lie, if they have gone from where they were.

    Raises OutputError: no result, or one of another model, of values behind activation functions, of none of the
    layers; images that are not there.
    """
    from ....engine.errors import OutputError
    from ....engine.graph.narrow import identity
    from ....engine.survey.top import load_top

    top = load_top(result_folder(folder))
    if top.model != identity(model):
        raise OutputError(f"{str(folder)!r} is a result of another model: run onnxray top with this one")
    if not top.options.get("before_activation", True):
        raise OutputError(f"{str(folder)!r} has values after the activation function: run onnxray top without --after")
    found = Survey((), part, was_whole=True)
    paths = _paths(folder, top, images)
    for key in sorted(top.images):
        name = paths[key].name
        while name in found.paths:
            name = f"{name} "
        found.paths[name] = paths[key]
        paths[key] = Path(name)
    named = {key: replace(entry, name=str(paths[key])) for key, entry in top.images.items()}
    mine = _layers(top, model, layers)
    if not mine:
        raise OutputError(f"{str(folder)!r} has none of the site's layers: its own are {', '.join(top.layers)}")
    found.top = replace(top, layers={site: top.layers[name] for site, name in mine.items()}, images=named)
    return found


def _layers(top: Top, model: Model, layers: Sequence[SiteLayer]) -> dict[str, str]:
    """The site's name -> the result's, of layers that share their units."""
    from ....engine.errors import UnknownName
    from ....engine.inspect.own_units import chain_of
    from ....engine.survey.units import CLASSES

    known = {layer.name: layer for layer in layers}
    classes = next((layer.name for layer in layers if layer.classes), None)
    found: dict[str, str] = {}
    for name, entry in top.layers.items():
        try:
            mine = chain_of(model, name).name
        except UnknownName:
            mine = classes if name == CLASSES and classes is not None else ""
        if mine in known and known[mine].count == entry.layer.units:
            found.setdefault(mine, name)
    return found


def _paths(folder: Path, top: Top, images: Sequence[Path]) -> dict[int, Path]:
    """Where the images of a result lie."""
    from ....engine.errors import OutputError

    given = {path.name: path for path in images}
    found, missing = {}, []
    for key, entry in top.images.items():
        path = Path(entry.name)
        found[key] = path if path.is_file() else given.get(path.name, path)
        if not found[key].is_file():
            missing.append(entry.name)
    if missing:
        raise OutputError(
            f"{len(missing)} of the {len(top.images)} images of {str(folder)!r} are not there, {missing[0]!r} first: "
            "give IMAGES, the folder where they are now"
        )
    return found
