"""`onnxray novelty`: what good images look like to a model, and how unlike them others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish_run
from ..terminal.echo import echo, echo_json
from ..terminal.help import OUTPUT, Command, Group


@click.group("novelty", cls=Group)
def command() -> None:
    """Find what is unlike good images: a score and a map, out of any model.

    `fit` learns what good images look like to a model, without training; `score` says how unlike them others are, and
    where.
    """


@command.command(
    "fit",
    cls=Command,
    short_help="Learn what good images look like to MODEL.",
    example="novelty fit builtin good/ --out memory.npz",
)
@options.model
@options.images
@options.layers
@options.option(
    "--method",
    type=click.Choice(["whitened", "patchcore", "padim", "mahalanobis", "knn"]),
    default="whitened",
    show_default=True,
    help="Distance to the nearest good patch, from a Gaussian at each place, or of whole images (no map).",
)
@options.option(
    "--rows", type=click.IntRange(min=1), default=300, show_default=True, metavar="N", help="Patches that are kept."
)
@options.option(
    "--dimensions",
    type=click.IntRange(min=1),
    metavar="N",
    help="Project wider features to so many numbers; default: 256, of padim 48.",
)
@options.option(
    "--false-alarms",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Share of good images that may be called novel.",
)
@options.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Of the projection."
)
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Images of one run of the model.")
@options.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("memory.npz"),
    show_default=True,
    metavar="FILE",
    section=OUTPUT,
    help="The memory to write.",
)
@options.replace("Replace an existing file.")
@options.card
@options.runtime
@options.half
@options.as_json
@options.quiet
def fit(as_json: bool, **asked: Any) -> None:
    """Learn what good images look like to MODEL, and write that to one file.

    IMAGES are good ones: files, folders, patterns. Every fifth is held out; they set the threshold above which images
    are novel. Without --layer, middle maps of two scales are taken. Too few images are said to be few.
    """
    from ..tasks.novelty import FitOptions, fit, text_of

    memory = fit(FitOptions(**asked))
    echo_json(memory.head()) if as_json else echo(text_of(memory, str(asked["out"])))


@command.command(
    "score",
    cls=Command,
    short_help="Say how unlike the good images others are, and where.",
    example="novelty score builtin samples --memory memory.npz",
)
@options.model
@options.images
@options.option(
    "--memory",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Memory of good images: what `onnxray novelty fit` wrote.",
)
@options.alpha
@options.output("onnxray-novelty", resume=True)
@options.runtime
@options.as_json
@options.quiet
def score(as_json: bool, **asked: Any) -> None:
    """Say how unlike the good images of a memory others are, and where.

    Each image has its score, whether it is above the memory's threshold, the region that is most unlike, and the
    classifier's own answer: one that is sure of an image that is unlike anything seen is not to be trusted. The folder
    holds the map, its mask and a picture of each image, and the nearest good patch.
    """
    from ..tasks.novelty import ScoreOptions, as_text, score

    run = score(ScoreOptions(**asked))
    if not as_json:
        echo(as_text(run))
    finish_run(run, as_json)
