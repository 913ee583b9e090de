"""`onnxray filters`: the weights of a layer as pictures, and the response of each filter to an image."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import finish_run
from ..terminal.help import Command


@click.command("filters", cls=Command, example="filters builtin --on samples")
@options.model
@options.layers
@options.option(
    "--on",
    metavar="IMAGES",
    multiple=True,
    help="Also draw the response of each filter to these images.",
    shell_complete=complete.images,
)
@options.option(
    "--most",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="N",
    help="Maximum number of output channels, largest norm first, and of input channels in a grid of both.",
)
@options.option("--all", "every", is_flag=True, help="Draw all output channels, by number.")
@options.option(
    "--range",
    type=click.Choice(["each", "shared"]),
    default="each",
    show_default=True,
    help="Scale the colours of every filter on its own, its range below it, or of all filters alike.",
)
@options.common("onnxray-filters")
def command(common: options.Common, **asked: Any) -> None:
    """Draw the weights of a layer, and the response of each filter to an image.

    Filters on the image's colour channels are drawn in colour, weight 0 as mid gray. Deeper kernels are drawn as a
    grid of output by input channels in diverging colours; dense layers and 1x1 convolutions as a matrix. Default
    layer: the first convolution.
    """
    from ..tasks.filters import FiltersOptions, filters

    finish_run(filters(FiltersOptions(common=common, **asked)), common.as_json)
