"""`onnxray export`: numbers of every node, as files for another program's view of the graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import find_images, open_model, warn

if TYPE_CHECKING:
    from ...engine.explorer.node_data import NodeData
    from ...engine.graph.model import Model
    from ...engine.survey.pictures import Picture
    from ..parameters.options import Common

MODEL_EXPLORER = "model-explorer"
PROGRAMS = (MODEL_EXPLORER,)


@dataclass(frozen=True)
class ExportOptions:
    """What `onnxray export` is asked for, in the words of the command line; `data` is empty for all that can be had."""

    model: Any
    images: Sequence[str]
    data: Sequence[str]
    target: str | None
    out: Path
    force: bool
    common: Common


def export(options: ExportOptions) -> list[Path]:
    """Write the files, one for each number; their paths.

    Raises OutputError (files that exist), UnknownName, MethodError, ImageError, and what the measures raise.
    """
    from ...engine.errors import OutputError

    if not options.force and options.out.exists() and any(options.out.glob("*.json")):
        raise OutputError(f"{str(options.out)!r} holds JSON files: choose another folder or give --force")
    _refuse_unused(options)
    model = open_model(options.model, options.common.card)
    images = find_images(options.images, quiet=options.common.quiet) if options.images else []
    found, left_out = measured(model, images, options)
    for name, reason in left_out.items():
        warn(f"without {name}: {reason}", options.common.quiet)
    return [write(entry, options.out) for entry in found]


def _refuse_unused(options: ExportOptions) -> None:
    """Raises MethodError for images and a target that nothing of what is asked for reads."""
    from ...engine.errors import MethodError
    from ...engine.explorer.node_data import DATA

    if not options.data or not set(options.data) <= DATA.keys():
        return
    if options.target is not None and "relevance" not in options.data:
        raise MethodError(
            "a target is for relevance, which is not asked for: add relevance to the data, or leave it out"
        )
    if options.images and set(options.data) == {"cost"}:
        raise MethodError("cost is that of the model alone, without images: ask for other data, or leave images out")


def measured(model: Model, images: Sequence[Path], options: ExportOptions) -> tuple[list[NodeData], dict[str, str]]:
    """What `gather` finds about the images; the first is what relevance and time are measured on."""
    from ...engine.attribution.photos import card_or_none
    from ...engine.explorer.node_data import gather
    from ...engine.inference.batches import RunOptions
    from ...engine.targets.target import Target
    from ..files.photos import read_photo
    from ..files.surveyed import surveyed

    card = card_or_none(model)
    image = read_photo(images[0], card) if images else None
    pictures: Callable[[], Iterable[Picture]] | None = (lambda: surveyed(list(images), card)) if images else None
    target = Target.parse(options.target) if options.target is not None else None
    runtime = RunOptions(**options.common.runtime)
    return gather(model, image, pictures, options.data or None, target, runtime)


def write(entry: NodeData, folder: Path) -> Path:
    """The file of one number. Raises OutputError."""
    from ...engine.atomic import atomic

    path = folder / f"{entry.file}.json"
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(entry.to_mapping(), indent=1) + "\n", encoding="utf-8", newline="\n")
    return path
