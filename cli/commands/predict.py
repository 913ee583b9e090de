"""`onnxray predict`: what a classifier sees in images."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish
from ..terminal.echo import echo, echo_json


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
@options.common(None, resume=True)
def command(common: options.Common, **asked: Any) -> None:
    """Name what a classifier sees in images, with scores.

    Scores are probabilities: of logits their softmax, or their sigmoid where classes are independent or one number says
    which of two. Models that answer with numbers have them printed. How images are prepared comes from the model's
    card.
    """
    from ..tasks.predict import PredictOptions, as_text, predict

    found = predict(PredictOptions(common=common, **asked))
    echo_json(found.to_mapping()) if common.as_json else echo(as_text(found), nl=False)
    finish(found.entries)
