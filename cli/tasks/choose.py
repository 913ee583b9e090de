"""`onnxray choose`: rank the methods within a time budget, and say why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters.inputs import card_of, find_labelled_images, open_model
from ..parameters.judging import chosen_metrics, with_settings
from ..parameters.methods import chosen_methods
from ..terminal.table import Column, table, terminal_width

if TYPE_CHECKING:
    from ...engine.choose import Choice
    from ...engine.preprocess.card import Card
    from ...engine.survey.pictures import Picture
    from ..terminal.progress import Progress


@dataclass(frozen=True)
class ChooseOptions:
    """What `onnxray choose` is asked for, in the words of the command line."""

    model: str
    images: Sequence[str]
    methods: Sequence[str]
    metrics: str | None
    masks: Path | None
    target: str
    settings: Sequence[str]
    metric_settings: Sequence[str]
    seconds: float
    map_seconds: float | None
    seed: int
    batch: int | None
    card: dict[str, Any]
    runtime: dict[str, Any]
    quiet: bool
    progress: bool


def choose(options: ChooseOptions) -> Choice:
    """Judge what the budget allows for.

    Raises UnknownName (method, metric), MethodError, TargetError, ImageError (no image that can be read, no masks).
    """
    from ...engine.choose import choose as chosen
    from ...engine.choose import usual
    from ..files.masks import with_objects
    from ..terminal.progress import Progress

    model = open_model(options.model, options.card)
    card = card_of(model, options.quiet)
    methods = chosen_methods(options.methods, options.settings)[0] if options.methods else None
    files = find_labelled_images(options.images, options.model, options.quiet)
    metrics: Any = None
    if options.metrics:
        metrics = chosen_metrics(options.metrics, options.masks is not None, options.metric_settings)
    elif options.metric_settings:
        metrics = with_settings(usual(model, options.masks is not None), options.metric_settings)
    with Progress(len(files), quiet=options.quiet, bar=options.progress) as bar:
        pictures: Iterator[Picture] = _read([path for path, _ in files], card, bar)
        masks: Any = None
        if options.masks is not None:
            pictures, masks = with_objects(pictures, str(options.masks))
        return chosen(
            model,
            pictures,
            seconds=options.seconds,
            map_seconds=options.map_seconds,
            methods=methods,
            metrics=metrics,
            masks=masks,
            target=options.target,
            seed=options.seed,
            batch=options.batch,
            **options.runtime,
        )


def _read(paths: Sequence[Path], card: Card, bar: Progress) -> Iterator[Picture]:
    """The files decoded; those that cannot be read are named and left out. Raises ImageError where all are."""
    from ...engine.errors import ImageError
    from ...engine.survey.pictures import Picture
    from ..files.photos import read_photo

    done, first = 0, None
    for path in paths:
        try:
            pixels = read_photo(path, card)
        except ImageError as error:
            first = first or error
            bar.say(str(error), error=True)
            continue
        done += 1
        yield Picture(str(path), pixels)
        bar.step(path.name)
    if not done:
        raise ImageError(f"none of the {len(paths)} images can be read; the first: {first}")


def as_text(found: Choice) -> str:
    """A line for each method, the best first, the sentence, then what was left out and why."""
    rows = [[str(place), name, found.why(name)] for place, name in enumerate(found.order, 1)]
    rows += [["-", name, why] for name, why in found.left_out.items()]
    columns = [Column("", right=True), Column("method"), Column("why", least=30)]
    images = len(found.evaluation.images)
    about = f"{images} image{'s' * (images != 1)} in {found.spent:.0f} s"
    return f"{table(columns, rows, terminal_width())}\n\n{found.advice}\n({about}; onnxray evaluate has the figures.)"
