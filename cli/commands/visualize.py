"""`onnxray visualize`: pictures of what units, classes and directions of a model look for."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import complete, options
from ..parameters.inputs import finish_run
from ..terminal.echo import echo
from ..terminal.help import Command


@click.command("visualize", cls=Command, example="visualize builtin --class crack --class pit")
@options.model
@options.layers
@options.option(
    "--channel",
    "channels",
    metavar="C",
    multiple=True,
    help="Channels of the layer: 5, 0-7 or all; without any, the whole layer is one objective.",
)
@options.option(
    "--neuron", "neurons", metavar="C,Y,X", multiple=True, help="A channel at one place of the layer's map."
)
@options.option(
    "--direction", metavar="FILE.npy", help="Direction in activation space: one number per channel of the layer."
)
@options.option(
    "--class", "classes", metavar="CLASS", multiple=True, help="A class, by index or label; its logit is the objective."
)
@options.option(
    "--objective",
    "objectives",
    metavar="TEXT",
    multiple=True,
    help="Objective, or a weighted sum: 'channel:conv3:5 + 0.5*contrast:tabby'; see --list.",
)
@options.option("--minimise", is_flag=True, help="Minimise the objective.")
@options.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Pictures per objective.")
@options.option(
    "--diversity", type=float, default=0.0, metavar="W", help="Weight of making the --count pictures differ."
)
@options.option(
    "--strip", type=click.IntRange(min=2), metavar="N", help="Draw N pictures from one of two objectives to the other."
)
@options.option("--image", metavar="FILE", help="Begin with this image and stay near it (feature accentuation).")
@options.option("--mask", metavar="FILE", help="Where the image may change: white in this image, or an .npy file.")
@options.option(
    "--keep",
    type=click.FloatRange(min=0),
    metavar="W",
    help="Weight of staying near the image's features; default: 10.",
)
@options.option(
    "--reference", metavar="FILE", help="Image of the objectives features:LAYER, gram:LAYER and like:reference."
)
@options.option(
    "--spectrum",
    metavar="IMAGES",
    multiple=True,
    help="Images whose spectrum MACO keeps; default with maco: samples.",
    shell_complete=complete.images,
)
@options.option("--steps", type=click.IntRange(min=0), default=128, show_default=True, help="Maximum number of steps.")
@options.option("--all-steps", is_flag=True, help="Do not stop early when objective and picture have settled.")
@options.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@options.option("--parametrisation", metavar="PART", help="See --list; default: fourier, with --spectrum maco.")
@options.option(
    "--transform",
    "transforms",
    metavar="PART",
    multiple=True,
    help="Replaces the default transforms; none for none; see --list.",
)
@options.option("--optimiser", metavar="PART", help="See --list.")
@options.option(
    "--regulariser",
    "regularisers",
    metavar="PART",
    multiple=True,
    help="Penalty subtracted from the objective; see --list.",
)
@options.option(
    "--schedule", metavar="NAME", default="constant", show_default=True, help="Schedule of the optimiser's rate."
)
@options.option(
    "--views", type=click.IntRange(min=1), help="Views of the picture per step, each through other transforms."
)
@options.option("--batch", type=click.IntRange(min=1), metavar="N", help="Pictures optimised in one run; default: 1.")
@options.option("--history", type=click.Choice(["gif", "mp4"]), help="Also write how each picture came about.")
@options.option(
    "--every", type=click.IntRange(min=1), default=4, show_default=True, help="Steps per frame of --history."
)
@options.option(
    "--checkpoints",
    metavar="MODEL",
    multiple=True,
    help="Also draw the same units of these models, next to each other.",
)
@options.option(
    "--on",
    metavar="IMAGES",
    multiple=True,
    help="Show the images that excite each unit most next to its picture.",
    shell_complete=complete.images,
)
@options.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda *call: _list(*call),
    help="List all objectives, parametrisations, transforms, optimisers and regularisers.",
)
@options.common("onnxray-visualize", resume=True)
def command(common: options.Common, **asked: Any) -> None:
    """Draw what a unit, a class or a direction of a model looks for.

    Feature visualization: an image is optimised to excite the unit. Give a layer with channels, neurons or a direction,
    or a class. --size is the size of the picture, if the network accepts other sizes than its own; default: near the
    receptive field for units, the model's size for classes. PART is NAME, NAME:VALUE or NAME:OPTION=VALUE,OPTION=VALUE.
    """
    from ..tasks.visualize import VisualizeOptions, visualize

    finish_run(visualize(VisualizeOptions(common=common, **asked)), common.as_json)


def _list(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Print what there is of every part."""
    if wanted:
        from ..tasks.visualize import listing

        echo(listing())
        context.exit()
