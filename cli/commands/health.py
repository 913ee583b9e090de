"""`onnxray health`: dead, saturated and duplicate units of a model on a data set, and how far other versions moved."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish_run
from ..parameters.shards import shard
from ..terminal.echo import echo
from ..terminal.help import Command


@click.command("health", cls=Command, example="health builtin")
@options.model
@options.images
@options.layers
@options.option(
    "--against",
    metavar="MODEL",
    multiple=True,
    help="Another version of the model (a checkpoint, quantised, pruned): which layer drifts first; may be repeated.",
)
@options.option(
    "--checkpoint",
    "checkpoints",
    metavar="MODEL",
    multiple=True,
    help="Checkpoints in the order of the training, the model itself being the last: how its layers have changed.",
)
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Images of one run of the model.")
@shard
@options.common("onnxray-health", resume=True)
def command(common: options.Common, **asked: Any) -> None:
    """Examine the units of a model on a data set: dead, saturated, duplicate; compare versions.

    Each finding comes with a line of advice.
    Without --layer: activation functions, products without one behind them, and the class scores. The page shows
    histograms before and after each activation function, and the similarity of all layers (linear CKA). The folder
    `result` holds the statistics of all units, for `onnxray merge` and for Python.
    """
    from ..tasks.health import HealthOptions, as_text, health

    run = health(HealthOptions(common=common, **asked))
    if not common.as_json:
        echo(as_text(run))
    finish_run(run, common.as_json)
