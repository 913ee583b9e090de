"""`onnxray predict`: what a classifier sees in images."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import click

from ..files.output import Output
from ..parameters import options
from ..parameters.inputs import card_of, find_images, finish, open_model
from ..tasks.predict import Prediction, as_text, write_csv


@click.command("predict")
@options.model
@options.images
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, metavar="K", help="How many classes to name."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Images that run together, where the model allows it.",
)
@options.as_json
@options.output(None, resume=True)
@options.card
@options.runtime
@options.quiet
def command(
    model: str,
    images: tuple[str, ...],
    top: int,
    batch: int,
    as_json: bool,
    output: Output | None,
    card: dict[str, Any],
    runtime: dict[str, Any],
    quiet: bool,
    progress: bool,
) -> None:
    """Name what a classifier sees in images, with scores.

    Scores are probabilities: where the model gives logits, their softmax. How images are prepared comes from the
    model's card.
    """
    from ...engine.inspect.signature import class_output
    from ...engine.targets.classify import shown_as
    from ..files.run import Run, describe, describe_card
    from ..terminal.progress import Progress

    loaded = open_model(model, card)
    classes = class_output(loaded)
    found = card_of(loaded, quiet)
    paths = find_images(images)
    about = {"model": describe(loaded), "card": describe_card(found), "scores": shown_as(classes)}
    run = Run(output, "predict", {"top": top, "batch": batch, **runtime}, about, paths) if output else None
    with run or contextlib.nullcontext(), Progress(len(paths), quiet=quiet, bar=progress) as bar:
        work = Prediction(loaded, found, classes, top, batch, runtime, bar, run)
        entries = work.all(paths)
        if run is not None:
            run.manifest["files"] = [run.text("predictions.csv", write_csv(entries))]
    if as_json:
        click.echo(json.dumps({**about, "images": entries}, indent=2, ensure_ascii=False))
    else:
        click.echo(as_text(entries, shown_as(classes)), nl=False)
    finish(entries)
