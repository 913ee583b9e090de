"""`onnxray explain`: why a model answers as it does, for images, by any number of methods."""

from __future__ import annotations

from typing import Any

import click

from ..parameters import options
from ..parameters.inputs import finish_run
from ..parameters.methods import DEFAULT, listing
from ..terminal.echo import echo

FORMATS = ("npy", "heatmap", "overlay", "classes", "sheet")


def _formats(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    from ...engine.errors import nearest

    chosen = tuple(dict.fromkeys(part.strip().lower() for part in value.split(",") if part.strip()))
    for part in chosen:
        if part not in FORMATS:
            close = nearest(part, FORMATS, 1)
            hint = f" (nearest: {close[0]!r})" if close else ""
            raise click.BadParameter(f"{part!r} is none of {', '.join(FORMATS)}{hint}")
    if not chosen:
        raise click.BadParameter(f"name at least one of {', '.join(FORMATS)}")
    return chosen


def _list_methods(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        echo(listing())
        context.exit()


@click.command("explain")
@options.model
@options.images
@click.option(
    "-m",
    "--method",
    "methods",
    metavar="NAME,...",
    multiple=True,
    default=(DEFAULT,),
    show_default=DEFAULT,
    help="Methods, with commas or given several times; `all` for every one that fits the model.",
)
@click.option(
    "-t",
    "--target",
    "targets",
    metavar="TARGET",
    multiple=True,
    default=("predicted",),
    show_default="predicted",
    help="What is explained; may be given several times. `predicted`, a class by number or label, `top:3`, "
    "`contrast:A,B`, `prob:CLASS`, `unit:LAYER:CHANNEL[,Y,X]`, `region:CLASS[:Y0,X0,Y1,X1]`, `element:VALUE:I,J,...`.",
)
@options.layers
@click.option(
    "-o",
    "--option",
    "settings",
    metavar="[METHOD:]NAME=VALUE",
    multiple=True,
    help="An option of a method, or of all that have it: steps=100. See --list-methods.",
)
@click.option(
    "--format",
    "formats",
    metavar=",".join(FORMATS),
    default=",".join(FORMATS),
    callback=_formats,
    help="What is written for each image; everything if not given.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    metavar="SHARE",
    help="Share of the colours in overlays where the map is greatest.",
)
@click.option("--colormap", metavar="NAME", help="Colours of the maps; the method's own if not given.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Also the regions whose values are at least this part of the greatest: a mask, each region's outline, "
    "box (y0, x0, y1, x1) and peak, strongest first, as a picture and as JSON.",
)
@click.option(
    "--side",
    type=click.Choice(["positive", "negative", "both"]),
    show_default="positive",
    help="With --threshold: regions that speak for the target, against it, or both by magnitude.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most inputs, copies of the image among them, that run together; chosen by their size if not given.",
)
@click.option(
    "--list-methods",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_methods,
    help="List the methods with their options, and exit.",
)
@options.common("onnxray-explain", resume=True)
def command(common: options.Common, **asked: Any) -> None:
    """Show why a model answers as it does for images.

    For each image, method and target: the map as a float32 .npy file, signed and not normalised; the map in colours;
    its overlay on the image. Per image, a sheet with all of them side by side, each with the range of its colours. With
    --threshold the hottest regions. Occlusion also shows what the answer becomes with each part of the image hidden.
    """
    from ..tasks.explain import ExplainOptions, explain

    if asked["side"] and asked["threshold"] is None:
        raise click.UsageError("--side is about the regions of --threshold: give it as well")
    asked["side"] = asked["side"] or "positive"
    finish_run(explain(ExplainOptions(common=common, **asked)), common.as_json)
