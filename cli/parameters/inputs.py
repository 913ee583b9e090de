"""MODEL and IMAGES of the command line: names become a loaded model, its card, and a list of image files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...engine.errors import ImageError
from ..sources.registry import Images, files_of, images_of_block, open_images, part_of_images
from ..sources.share import WHOLE, Share, stem_of
from ..sources.source import Selection
from ..terminal.echo import echo_json, echo_path, say
from ..terminal.words import as_options

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.preprocess.card import Card
    from ..files.run import Run

BUILTIN = "builtin"


def open_model(name: str, card: Mapping[str, Any]) -> Model:
    """Load MODEL with the options of `options.card`; those of a card file given with --card come after the others."""
    from ...engine.load import load

    fields = dict(card)
    file = fields.pop("card", None)
    if file is not None:
        fields = {**_card_file(Path(file)), **fields}
    if "labels" in fields and isinstance(fields["labels"], str):
        fields["labels"] = Path(fields["labels"])
    return load(name, **fields)


def _card_file(path: Path) -> dict[str, Any]:
    from ...engine.preprocess.card import check
    from ...engine.preprocess.labels import parse_json, read_text

    where = f"the card file {str(path)!r}"
    fields = check(parse_json(read_text(path, "the card file"), where), where, path.parent)
    return {name: value for name, value in fields.items() if name not in ("source", "warnings", "about")}


def some_images(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """IMAGES as given. Raises click.MissingParameter where there is none and the model has no samples."""
    if not value and context.params.get("texts"):
        return value
    if not value and context.params.get("model") != BUILTIN and not context.resilient_parsing:
        raise click.MissingParameter(ctx=context, param=parameter, param_hint="'IMAGES...'")
    return value


def warn(text: str, quiet: bool) -> None:
    """One line on stderr."""
    if not quiet:
        say(as_options(text))


def card_of(model: Model, quiet: bool) -> Card:
    """The model's card; what is doubtful about it is said on stderr."""
    from ...engine.preprocess.find import find_card

    card = find_card(model)
    for text in card.warnings:
        warn(f"warning: {text}", quiet)
    return card


def card_or_none(model: Model, quiet: bool) -> Card | None:
    """The card of a model that takes images, else None."""
    from ...engine.errors import CardError, ModelError
    from ...engine.inspect.signature import image_input

    try:
        image_input(model)
    except (ModelError, CardError):
        return None
    return card_of(model, quiet)


def fixed_batch(model: Model, card: Card) -> int | None:
    """The batch size that the model insists on, None if it takes any, 1 if it has no batch axis."""
    if not card.batched:
        return 1
    shape = next(v for v in model.inputs if v.name == card.input).shape
    first = shape[0] if shape else None
    return first if isinstance(first, int) else None


SAMPLES = "samples"


def find_images(
    names: Sequence[str], model: str = "", quiet: bool = False, selection: Selection | None = None
) -> list[Path]:
    """The image files that IMAGES stand for: files, folders, glob patterns, lists, and `samples`, those of onnxray.

    For the built-in model `samples` is the default, which is printed. Raises ImageError where there is no such file,
    and for cameras, videos and other streams.
    """
    return files_of(_named(names, model, quiet), selection or Selection())


def take_images(
    names: Sequence[str],
    model: str,
    quiet: bool,
    selection: Selection,
    share: Share = WHOLE,
    wanted: Callable[[Path], str] = stem_of,
    group: int = 1,
) -> Images:
    """The same for commands that take streams as well: videos, cameras, stdin; those of a part: see `part_of_images`.

    Raises ImageError, MethodError.
    """
    if share.block is not None:
        return images_of_block(share.block, share, selection, lambda text: warn(text, quiet))
    images = open_images(_named(names, model, quiet), selection, lambda text: warn(text, quiet)).begin()
    return part_of_images(images, share, wanted, group)


def refuse_part(share: Share) -> None:
    """Raises ImageError where a part, or an end after failures, is asked for of what is no image."""
    if not share.whole:
        raise ImageError("--shard and --on are about images, and others are given: leave them out")
    if share.max_failures is not None:
        raise ImageError("--max-failures is about images, and others are given: leave it out")


def refuse_crop(selection: Selection) -> None:
    """Raises ImageError where a region of interest is asked for of what is no image."""
    if selection.crop is not None:
        raise ImageError("--crop is about images, and arrays are given: cut the arrays")


def _named(names: Sequence[str], model: str, quiet: bool) -> list[str]:
    """IMAGES, with the samples for what stands for them."""
    if not names and model == BUILTIN:
        names = (SAMPLES,)
        warn(f"no images given: using the {len(_samples(SAMPLES))} sample images of the built-in model", quiet)
    return [str(part) for name in names for part in _samples(name)]


def find_labelled_images(names: Sequence[str], model: str = "", quiet: bool = False) -> list[tuple[Path, str | None]]:
    """As `find_images`, with the class of each: folders whose subfolders are named as classes. Raises ImageError."""
    from ..files.labelled import find_labelled

    if not names:
        return [(path, None) for path in find_images(names, model, quiet)]
    return find_labelled([part for name in names for part in _samples(name)])


def _samples(name: str) -> Sequence[str | Path]:
    """`samples` and `samples/NAME` as files, unless there is such a file or folder; other names as they are."""
    from ... import models

    head, _, file = name.partition("/")
    if head != SAMPLES or Path(name).exists():
        return [name]
    if not file:
        return models.samples()
    return [models.samples()[0].parent / file]


def finish_run(run: Run, as_json: bool) -> None:
    """The end of a command that fills a folder: prints the manifest, or the folder's name; then as `finish`."""
    echo_json(run.document()) if as_json else echo_path(run.folder)
    finish(run.entries)


def finish(entries: Sequence[Mapping[str, Any]]) -> None:
    """The end of a command over images: exit code 1 where some failed."""
    failures = sum(entry["status"] == "failed" for entry in entries)
    if failures:
        say(f"{failures} of {len(entries)} images failed")
        click.get_current_context().exit(1)
