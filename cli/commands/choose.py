"""`onnxray choose`: which method to use, found within a time budget."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import judging, options
from ..terminal.echo import echo, echo_json
from ..terminal.help import Command

_SECONDS = click.FloatRange(0, min_open=True)


@click.command("choose", cls=Command, example="choose builtin --seconds 30")
@options.model
@options.images
@options.option(
    "--seconds", type=_SECONDS, default=60.0, show_default=True, metavar="S", help="Time budget of the choice."
)
@options.option("--map-seconds", type=_SECONDS, metavar="S", help="Leave out methods that need longer for one map.")
@judging.asked
@options.settings
@options.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random.")
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Maximum batch size.")
@options.as_json
@options.card
@options.runtime
@options.half
@options.quiet
def command(as_json: bool, **asked: Any) -> None:
    """Rank the explanation methods that fit a model within a time budget, and say why.

    The short version of `onnxray evaluate`, which writes no files. Every method is tried on the first image; those
    that are too slow for four images within the budget are left out, the others are judged on as many images as there
    is time for. Default metrics: insertion and deletion in 16 steps, average drop, with --masks also localisation.
    """
    from ..tasks.choose import ChooseOptions, as_text, choose

    if asked["settings"] and not asked["methods"]:
        raise click.UsageError("--option is about methods that are named: give --method as well")
    found = choose(ChooseOptions(**asked))
    echo_json(found.to_mapping()) if as_json else echo(as_text(found))
