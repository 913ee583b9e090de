"""`onnxray top`: the images of a data set that excite the units of a model most, and least."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish_run
from ..parameters.scale import Scale, scale
from ..terminal.help import Command
from .finishing import finish_on


@click.command("top", cls=Command, example="top builtin --layer stage3/relu2 -k 9")
@options.model
@options.images
@options.layers
@options.option("-k", "k", type=click.IntRange(min=1), default=9, show_default=True, help="Images per unit.")
@options.option(
    "--channel",
    "channels",
    metavar="C",
    multiple=True,
    help="Units to draw: 5, 0-7 or all; default: the first 12. The result holds all.",
)
@options.option("--weakest", is_flag=True, help="Also draw the images with the lowest values.")
@options.option("--quantiles", is_flag=True, help="Also draw images at every level between the weakest and strongest.")
@options.option(
    "--field",
    type=click.Choice(["exact", "effective"]),
    default="exact",
    show_default=True,
    help="What to crop: all that the unit sees, or the smallest box with 95 % of its gradient.",
)
@options.option(
    "--project",
    type=click.Choice(["guided-backprop", "deconvnet"]),
    multiple=True,
    help="Also project the unit back to each crop; may be given twice.",
)
@options.option("--no-heat", "heat", is_flag=True, default=True, flag_value=False, help="Do not draw the unit's heat.")
@options.option(
    "--selectivity",
    "labels",
    type=click.Choice(["auto", "given", "predicted", "none"]),
    default="auto",
    show_default=True,
    help="Classes that units may be selective for: names of the folders, the model's own answers, or none.",
)
@options.option("--after", is_flag=True, help="Read units after their activation function, as the layer's name says.")
@options.option(
    "--sample", type=click.IntRange(min=1), default=1024, show_default=True, help="Images kept for quantiles."
)
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Images of one run of the model.")
@scale
@options.common("onnxray-top", resume=True)
def command(common: options.Common, scale: Scale, **asked: Any) -> None:
    """Find the images that excite each unit of a layer most, in one pass over any number of images.

    IMAGES are files, folders, patterns, samples, or a folder whose subfolders are named as the classes of the images in
    them. Without --layer, the units are the scores of the classes. Images of the same content count once. The sheets
    show what each unit sees of its images; the folder `result` holds all units, for `onnxray merge` and for Python.
    """
    from ..tasks.top import TopOptions, top

    wanted = TopOptions(common=common, share=scale.share, **asked)
    if scale.address is not None:
        finish_on("top", wanted, scale)
        return
    finish_run(top(wanted), common.as_json)
