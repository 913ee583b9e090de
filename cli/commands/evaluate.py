"""`onnxray evaluate`: how right the maps of methods are on a model and images, in numbers."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import judging, options
from ..parameters.inputs import finish_run
from ..parameters.scale import Scale, scale
from ..terminal.echo import echo
from ..terminal.help import Command
from .finishing import finish_on


@click.command("evaluate", cls=Command, example="evaluate builtin --methods grad-cam,lrp --metrics insertion,deletion")
@options.model
@options.images
@judging.asked
@options.settings
@options.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random.")
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Maximum batch size.")
@options.selection
@scale
@options.common("onnxray-evaluate", resume=True)
def command(common: options.Common, scale: Scale, **asked: Any) -> None:
    """Judge the maps of explanation methods by metrics, and say which method to use here.

    Written: a table of means with 95 % intervals (table.csv, table.md), all values (evaluation.json), curves of
    insertion and the like, and a page with the best and the worst images of each method. An image whose values are
    known is not judged again with --resume.
    """
    from ..pages.report import document
    from ..tasks.evaluate import EvaluateOptions, as_text, evaluate

    asked["methods"] = tuple(asked["methods"])
    wanted = EvaluateOptions(common=common, share=scale.share, **asked)
    if scale.address is not None:
        finish_on("evaluate", wanted, scale)
        return
    run = evaluate(wanted, document)
    if not common.as_json:
        echo(as_text(run))
    finish_run(run, common.as_json)
