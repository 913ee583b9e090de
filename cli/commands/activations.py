"""`onnxray activations`: what the layers of a model answer to images."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish_run


@click.command("activations")
@options.model
@options.images
@options.layers
@click.option("--all-layers", is_flag=True, help="The image's walk through the whole network, in one strip.")
@click.option("--all", "every", is_flag=True, help="All channels of a layer, by number, instead of the strongest.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="How many of the strongest channels to show.",
)
@options.common("onnxray-activations", resume=True)
def command(common: options.Common, **asked: Any) -> None:
    """Picture what the layers of a model answer to images.

    For each image and layer: a grid of the channels' maps, their mean on the image, a histogram before and after the
    activation function, statistics, and the values as a float32 .npy file. Layers that are no maps are drawn as bars or
    as a heat table. Without --layer and --all-layers: the last layer that still is a map.
    """
    from ..tasks.activations import ActivationsOptions, activations

    finish_run(activations(ActivationsOptions(common=common, **asked)), common.as_json)
