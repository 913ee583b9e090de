"""`onnxray activations`: the activations of a model's layers for images."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from ..parameters import options
from ..parameters.inputs import finish_run
from ..parameters.scale import Scale, scale
from ..terminal.help import Command
from .finishing import finish_on


@click.command("activations", cls=Command, example="activations builtin --all-layers")
@options.model
@options.images
@options.layers
@options.option("--all-layers", is_flag=True, help="Draw the image's way through the whole network as one strip.")
@options.option("--blocks", is_flag=True, help="As --all-layers, with one tile per block, for deep networks.")
@options.option("--all", "every", is_flag=True, help="Draw all channels of a layer, by number.")
@options.option(
    "--most",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Maximum number of channels, strongest first.",
)
@options.option(
    "--range",
    type=click.Choice(["shared", "each"]),
    default="shared",
    show_default=True,
    help="Scale the colours of all channels alike, or of each on its own, so that weak ones are seen.",
)
@options.option(
    "--stats",
    is_flag=True,
    help="Write only statistics of the layers, of each image and of all (layers.csv): no pictures, no values.",
)
@options.feeds
@options.selection
@scale
@options.devices
@options.common("onnxray-activations", resume=True)
def command(common: options.Common, scale: Scale, **asked: Any) -> None:
    """Draw layer activations for images.

    For each image and layer: a grid of the channels' maps, their mean over the image, the activation function with
    histograms before and after it, statistics, and the values as a float32 .npy file; of pooling layers also the
    windows. Layers without rows and columns are drawn as bars or as a heat table. Default layer: the last one that is
    a map.
    """
    from ..tasks.activations import ActivationsOptions, activations

    if asked["stats"]:
        _refuse_drawing()
    wanted = ActivationsOptions(common=common, share=scale.share, **asked)
    if scale.address is not None:
        if common.devices:
            raise click.UsageError("--devices is about this machine: with --on, give --gpus of each actor")
        finish_on("activations", wanted, scale)
        return
    finish_run(activations(wanted), common.as_json)


def _refuse_drawing() -> None:
    """Raises click.UsageError for options about pictures, which --stats does not draw."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in ("every", "most", "range") and source == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} is about pictures, and --stats draws none: leave it out")
