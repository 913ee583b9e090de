"""The report for one image: everything that onnxray says of a model's answer to it, as one page."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, open_model
from .subject import LayerValues, OnePhoto, Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...engine.preprocess.card import Card
    from ..figures.parts import Section
    from ..parameters.options import Common

# The tasks that have a section, in the order of the page; that of units comes before the last.
_SECTIONS = ("predict", "preparation", "comparison", "trust", "activations", "unit_examples", "inspect")


@dataclass(frozen=True)
class ReportOptions:
    """What `onnxray report` is asked for, in the words of the command line.

    image: the path of a file, or pixels (H, W, 3). examples: a folder of `onnxray microscope` or `onnxray top`. layer:
    whose units are shown.
    """

    model: Any
    image: Any
    out: Path
    force: bool
    examples: Path | None
    layer: str | None
    common: Common


def report(options: ReportOptions, document: Callable[[str, str, Subject, Sequence[Section]], str]) -> Path:
    """Write the page; its path.

    Raises ImageError, ModelError, CardError, UnknownName (layer), OutputError (a file that exists, a full disk, a
    folder of examples that is none).
    """
    from ...engine.atomic import atomic
    from ...engine.errors import OutputError
    from ..terminal.progress import Progress
    from .unit_examples import examples_in

    if options.out.exists() and not options.force:
        raise OutputError(f"{str(options.out)!r} exists: choose another file or give --force")
    common = options.common
    examples = examples_in(options.examples) if options.examples is not None else None
    model = open_model(options.model, common.card)
    card = card_of(model, common.quiet)
    path, pixels = _read(options.image, card)
    subject = Subject(model, card, OnePhoto(path, pixels), (path, pixels), LayerValues(model, card, common.runtime))
    parts = []
    with Progress(len(_SECTIONS), "sections", quiet=common.quiet, bar=common.progress) as bar:
        for section in _sections(subject, examples, options.layer):
            parts.append(section)
            bar.step(section.title)
    name = model.path.stem if model.path is not None else "the model"
    lead = f"What {name} answers for this image, on what the answer depends, and what happens on the way."
    with atomic(options.out) as temporary:
        text = document(f"{path.name}, seen by {name}", lead, subject, parts)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return options.out


def _sections(subject: Subject, examples: Any, layer: str | None) -> Iterator[Section]:
    for name in _SECTIONS:
        task = importlib.import_module(f".{name}", __package__)
        yield task.section(subject, examples, layer) if name == "unit_examples" else task.section(subject)


def _read(image: Any, card: Card) -> tuple[Path, NDArray[Any]]:
    from ..files.photos import read_photo

    if isinstance(image, str | Path):
        return Path(image), read_photo(image, card)
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return Path(f"image {digest[:8]}"), image
