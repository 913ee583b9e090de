"""`onnxray filters`: the weights of a layer as pictures, and what each filter makes of an image."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish_run


@click.command("filters")
@options.model
@options.layers
@click.option("--on", metavar="IMAGES", multiple=True, help="Also what each filter makes of these images.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="N",
    help="How many output channels to show, largest norm first, and input channels where there is a grid of both.",
)
@click.option("--all", "every", is_flag=True, help="All output channels, by number.")
@click.option("--each", is_flag=True, help="Every filter in its own range of colours, which is written below it.")
@options.common("onnxray-filters")
def command(common: options.Common, **asked: Any) -> None:
    """Picture the weights of a layer, and what each filter makes of an image.

    Filters that read the image's colours are drawn in colour, weight 0 as mid gray. Deeper kernels are a grid of output
    by input channels in a diverging map; dense layers and 1x1 convolutions a matrix. Without --layer: the first
    convolution.
    """
    from ..tasks.filters import FiltersOptions, filters

    finish_run(filters(FiltersOptions(common=common, **asked)), common.as_json)
